"""Postfix's load generator, people at netcat and our own client deliver in the clear.

Other people's clients are in L{tests.peers.test_roles}.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import programs
from tests.compose.terminal import CTRL_C, CTRL_D, CTRL_U, ENTER, Terminal
from tests.peers.conftest import StartServer
from tests.peers.mail import as_sent, content, new, sender
from tests.peers.server import DEADLINE, TWISTD, Server, environment

ANN = "ann@example.org"
USER1 = "user1@hostmeister.de"


def run(command: Sequence[str], stdin: bytes = b"", cwd: Path | None = None) -> str:
    """What a program that must end well has written."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=DEADLINE, cwd=cwd, env=environment(), check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode()


def assert_delivered_once(server: Server, sent: bytes) -> None:
    (message,) = new(server.mailboxes / "user1")
    assert sender(message) == ANN
    assert content(message, sent) == sent
    assert not list((server.mailboxes / "user1" / "tmp").iterdir())
    assert new(server.mailboxes / "user2") == []


@pytest.mark.requires("smtp-source")
def test_smtp_source_delivers_a_thousand_messages_over_twenty_sessions(server: Server) -> None:
    options = ["-s", "20", "-m", "1000", "-l", "4096", "-f", ANN, "-t", USER1]
    run([programs.path("smtp-source"), *options, f"127.0.0.1:{server.port}"])
    messages = new(server.mailboxes / "user1")
    ids = {found[1] for message in messages if (found := re.search(rb"^Message-Id: (.+)$", message, re.MULTILINE))}
    assert len(messages) == len(ids) == 1000
    sizes = {len(as_sent(message)) for message in messages}
    assert max(sizes) - min(sizes) < 64, "they differ by the digits in their headers and nothing else"
    assert min(sizes) > 4000
    assert len(server.events("message_stored")) == 1000


def typed(message: str) -> list[str]:
    """A session as a person types it, and the reply codes it waits for."""
    envelope = ["220", "HELO me", "250", f"MAIL FROM:<{ANN}>", "250", f"RCPT TO:<{USER1}>", "250", "DATA", "354"]
    return [*envelope, *message.splitlines(), ".", "250", "QUIT", "221"]


@pytest.mark.requires("nc")
def test_a_person_types_into_netcat(server: Server) -> None:
    with subprocess.Popen(
        [programs.path("nc"), "127.0.0.1", str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as netcat:
        assert netcat.stdin is not None
        assert netcat.stdout is not None
        for line in typed("Hello user1,\n\nthis is me.\n"):
            if line.isdigit():
                assert netcat.stdout.readline().startswith(line)
            else:
                print(line, file=netcat.stdin, flush=True)
    (message,) = new(server.mailboxes / "user1")
    assert content(message, b"Hello") == b"Hello user1,\n\nthis is me.\n"


@pytest.mark.requires("nc")
def test_a_file_of_commands_is_piped_into_netcat(server: Server) -> None:
    commands = [line for line in typed("Subject: piped\n\nAll at once.\n") if not line.isdigit()]
    said = run([programs.path("nc"), "127.0.0.1", str(server.port)], stdin="".join(f"{c}\n" for c in commands).encode())
    assert [line[:4] for line in said.splitlines()] == ["220 ", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "]
    assert_delivered_once(server, b"Subject: piped\n\nAll at once.\n")


def mailclient(server: Server, *options: str) -> list[str]:
    return [str(TWISTD), "mailclient", "--server", f"127.0.0.1:{server.port}", "--to", USER1, *options]


def test_our_own_client_delivers_what_is_piped_into_it(server: Server, tmp_path: Path) -> None:
    run(mailclient(server, "--from", ANN, "--subject", "from a pipe"), stdin=b"hi\n.\n", cwd=tmp_path)
    (message,) = new(server.mailboxes / "user1")
    assert sender(message) == ANN
    header, _, body = as_sent(message).partition(b"\n\n")
    assert b"\nSubject: from a pipe\n" in b"\n" + header + b"\n"
    assert body == b"hi\n.\n"


def test_our_own_client_leaves_a_server_with_a_pid_file_alone(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(twistd=("-n",))
    server.wait_for("listening")
    pid = (tmp_path / "twistd.pid").read_text()
    run(mailclient(server), stdin=b"hi\n", cwd=tmp_path)
    assert len(new(server.mailboxes / "user1")) == 1
    assert (tmp_path / "twistd.pid").read_text() == pid
    server.stop()


def at_a_terminal(server: Server, folder: Path) -> Terminal:
    command = [str(TWISTD), "mailclient", "--server", f"127.0.0.1:{server.port}", "--from", ANN]
    return Terminal(command, folder, environment(XDG_STATE_HOME=str(folder / "state"), TERM="xterm"))


def test_a_person_sends_with_our_own_client_and_corrects_a_recipient(server: Server, tmp_path: Path) -> None:
    with at_a_terminal(server, tmp_path) as terminal:
        terminal.expect("To:")
        terminal.type("nobody@hostmeister.de; user2@hostgator.com", ENTER)
        terminal.expect("550 5.1.1 No such user here")
        terminal.expect("Instead of nobody@hostmeister.de")
        terminal.type(CTRL_U, USER1, ENTER)  # in place of what is there to be mended
        terminal.expect("Subject:")
        terminal.type("by hand", ENTER)
        terminal.expect("(^C to cancel) | (^D to send)")
        terminal.expect("Enter email message:")
        terminal.type("hello", ENTER, CTRL_D)
        terminal.expect("250 2.0.0 Stored as")
        assert terminal.status() == 0
    for user in ("user1", "user2"):
        (message,) = new(server.mailboxes / user)
        assert as_sent(message).endswith(b"\n\nhello\n")


def test_a_person_cancels_and_nothing_is_sent(server: Server, tmp_path: Path) -> None:
    with at_a_terminal(server, tmp_path) as terminal:
        terminal.expect("To:")
        terminal.type(USER1, ENTER)
        terminal.expect("Subject:")
        terminal.type(ENTER)
        terminal.expect("Enter email message:")
        terminal.type("never mind", CTRL_C)
        terminal.expect("Cancelled: nothing was sent.")
        assert terminal.status() == 130
    assert new(server.mailboxes / "user1") == []
    assert server.events("message_stored") == []
