"""The messages and texts of Python's own test suite, real and nasty, go through unharmed."""

from __future__ import annotations

import smtplib
import subprocess
from pathlib import Path

import pytest

from tests import programs
from tests.peers.mail import content, lines_crlf, lines_lf, new, sender
from tests.peers.server import DEADLINE, Server

PACKAGE = "libpython3.11-testsuite"


@pytest.fixture
def corpus() -> dict[str, bytes]:
    """Each file's content under a sender's address of its own."""
    if programs.find("dpkg-query") is None:
        programs.absent("Debian package " + PACKAGE)
    listed = subprocess.run(["dpkg-query", "--listfiles", PACKAGE], capture_output=True, text=True, check=False)
    paths = [Path(line) for line in listed.stdout.splitlines() if line.endswith((".txt", ".eml"))]
    if not paths:
        programs.absent("Debian package " + PACKAGE)
    return {f"file{number}@example.org": path.read_bytes() for number, path in enumerate(paths)}


def test_the_corpus_comes_out_byte_exact(server: Server, corpus: dict[str, bytes]) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
        for author, text in corpus.items():
            assert client.sendmail(author, ["user1@hostmeister.de"], lines_crlf(text), ["BODY=8BITMIME"]) == {}
    delivered = new(server.mailboxes / "user1")
    assert len(delivered) == len(corpus) >= 98
    assert {sender(message) for message in delivered} == set(corpus)
    for message in delivered:
        text = corpus[sender(message)]
        assert content(message, text) == lines_lf(text)
