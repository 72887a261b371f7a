"""C{sendmail} by root and by nobody: to a server that runs, and to one that is started later; to a mailbox and away."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import programs
from tests.peers.mail import as_received
from tests.peers.sending import Sending, mail_exchange, sending
from tests.peers.server import DEADLINE, environment, free_port
from tests.peers.sinks import messages, sink

AWAY = "sink.example"
USERS = pytest.mark.parametrize("user", ["nobody", pytest.param("root", marks=pytest.mark.torture)])
#: Loads all there is first: the interpreter may be where only root may read.
_SENDMAIL = """
import os, sys
import mailagent.cli.main, mailagent.sendmail.drop, mailagent.sendmail.submit
from mailagent.cli.sendmail import sendmail
if os.getuid() != int(sys.argv[1]):
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
sendmail(sys.argv[2:], prog_name="sendmail")
"""
MESSAGE = b"To: user1@sender.example\nCc: away@sink.example\nBcc: user2@sender.example\nSubject: Cron\n\n.\nhi\n"


def as_user(name: str, home: Path, *words: str) -> None:
    """Have a user send L{MESSAGE}."""
    user = pwd.getpwnam(name)
    if os.getuid() not in (0, user.pw_uid):
        programs.absent(f"right to become {name}")
    command = [sys.executable, "-c", _SENDMAIL, str(user.pw_uid), *words]
    done = subprocess.run(
        command, input=MESSAGE, cwd=home, env=environment(), capture_output=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@contextmanager
def site(home: Path, port: int) -> Iterator[Sending]:
    with sending(home, port, mail_exchange({AWAY: "127.0.1.1"})) as running:
        yield running


def assert_arrived(running: Sending, captured: Path, user: str, queued: int) -> None:
    """All three have their copy.

    @param queued: how many had it by way of the queue.
    """
    running.await_delivery(queued)
    number = pwd.getpwnam(user).pw_uid
    copies = [*running.mailbox("user1"), *running.mailbox("user2"), *messages(captured)]
    assert len(copies) == 3
    for copy in copies:
        assert f"(from user {user}, number {number})".encode() in copy
        assert b"Bcc" not in copy
        assert copy.endswith(b"Subject: Cron\n\n.\nhi\n")
    away = as_received(messages(captured)[0])
    assert away.startswith((b"From: ", b"Date: ", b"Message-ID: "))


@pytest.mark.requires("smtp-sink")
@USERS
def test_it_goes_to_the_server_that_runs(home: Path, user: str) -> None:
    port, captured = free_port(), home / "captured"
    with sink("127.0.1.1", port, captured=captured), site(home, port) as running:
        as_user(user, home, "-t", "-i")
        assert list((home / "state" / "drop").iterdir()) == []
        assert_arrived(running, captured, user, queued=1)


@pytest.mark.requires("smtp-sink")
@USERS
def test_it_waits_in_the_drop_for_the_server(home: Path, user: str) -> None:
    port, captured = free_port(), home / "captured"
    with site(home, port):
        pass  # there has been a server
    as_user(user, home, "-t", "-i")
    assert len(list((home / "state" / "drop").iterdir())) == 1
    with sink("127.0.1.1", port, captured=captured), site(home, port) as running:
        running.server.wait_for("drop_taken")
        assert_arrived(running, captured, user, queued=3)
        assert list((home / "state" / "drop").iterdir()) == []
