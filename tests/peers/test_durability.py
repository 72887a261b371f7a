"""The order of system calls behind a C{250}, seen from outside by strace on the real process."""

from __future__ import annotations

import re
import smtplib
import sys
from pathlib import Path

import pytest

from tests import programs
from tests.peers.server import DEADLINE, LOOPBACK, TWISTD, Server

USERS = ["user1@hostmeister.de", "user2@hostmeister.de"]
CALLS = re.compile(
    r"(?P<fsync>fsync)\(\d+<(?P<synced>[^>]+)>"
    r"|(?P<link>link(?:at)?)\(.*\"(?P<linked>[^\"]+)\"(?:, 0)?(?:\)| <unfinished)"
    r"|(?P<send>send(?:to)?)\(\d+<[^>]*>, \"(?P<sent>[^\"]*)"
)


@pytest.mark.requires("strace")
def test_every_copy_is_synced_published_and_its_directory_synced_before_the_250(tmp_path: Path) -> None:
    trace, root = tmp_path / "trace", tmp_path / "mailboxes"
    strace = [
        programs.path("strace"),
        "-f",
        "-y",
        "-s",
        "256",
        "-e",
        "trace=fsync,link,linkat,sendto",
        "-o",
        str(trace),
    ]
    server_command = [sys.executable, str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
    server = Server([*strace, *server_command, "--listen", LOOPBACK, "--mailboxes", str(root)], tmp_path)
    try:
        server.wait_for("listening")
        before = trace.read_text().count("\n")
        with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
            client.sendmail("a@example.org", USERS, "Subject: x\r\n\r\nhi\r\n")
    finally:
        server.end()
    calls = [found for line in trace.read_text().splitlines()[before:] if (found := CALLS.search(line))]
    happened = [call for found in calls if (call := _called(found, root)) != "other reply"]
    happened = happened[: happened.index("250") + 1]
    assert happened == [
        "fsync user1/tmp", "fsync user2/tmp", "link user1/new", "link user2/new", "fsync user1/new", "fsync user2/new",
        "250",
    ]  # fmt: skip


def _called(found: re.Match[str], root: Path) -> str:
    """One call in short: what was synced or linked, a file by its directory; C{"250"} for the reply that counts."""
    if found["send"]:
        return "250" if "Stored as" in found["sent"] else "other reply"
    path = Path(found["synced"] or found["linked"]).relative_to(root)
    short = path if path.name in ("tmp", "new") else path.parent
    return f"{'fsync' if found['fsync'] else 'link'} {short}"
