"""C{mailagent-sendmail} as programs call it, with a real server and without one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.server import DEADLINE, LOOPBACK, TWISTD, Server, environment

SENDMAIL = [sys.executable, "-c", "from mailagent.cli.sendmail import sendmail; sendmail(prog_name='sendmail')"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "mailagent.toml").write_text(
        'hostname = "mx.example"\n[whitelist]\nhosts = ["mx.example"]\nusers = ["ann"]\n'
    )
    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    running = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json", "--listen", LOOPBACK], home)
    running.wait_for("listening")
    yield running
    running.end()


def sendmail(home: Path, *words: str, message: bytes = b"Subject: x\n\nhi\n") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*SENDMAIL, *words],
        cwd=home,
        input=message,
        env=environment(),
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )


def stored(home: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((home / "mailboxes" / "ann" / "new").iterdir())]


def test_cron_php_and_git_get_their_mail_through(home: Path, server: Server) -> None:
    cron = ["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t"]
    message = b"To: ann\nBcc: ann@mx.example\nSubject: Cron\n\nhi\n.\n"
    done = sendmail(home, *cron, message=message)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (received,) = stored(home)
    assert b"\nFrom: CronDaemon <" in received
    assert b"(from user " in received
    assert b"Bcc" not in received
    assert received.endswith(b"Subject: Cron\n\nhi\n.\n")


def test_a_refusal_is_told_and_is_the_exit_status(home: Path, server: Server) -> None:
    done = sendmail(home, "nobody", "ann")
    assert done.returncode == 67
    assert done.stderr == b"sendmail: nobody@mx.example: 550 5.1.1 No such user here\n"
    assert len(stored(home)) == 1


def test_everybody_may_connect_and_nobody_look_around(home: Path, server: Server) -> None:
    state = home / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o711
    assert stat.S_IMODE((state / "submit.sock").stat().st_mode) == 0o666


def test_a_server_that_was_killed_leaves_no_socket_in_the_way(home: Path, server: Server) -> None:
    server.kill()
    again = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json", "--listen", LOOPBACK], home)
    try:
        again.wait_for("listening")
        assert sendmail(home, "ann").returncode == 0
        assert again.events("error") == []
    finally:
        again.end()


def test_without_a_server_it_goes_into_the_drop(home: Path) -> None:
    (home / "state" / "drop").mkdir(parents=True)
    assert sendmail(home, "-f", "<>", "ann").returncode == 0
    (name,) = os.listdir(home / "state" / "drop")
    left = (home / "state" / "drop" / name).read_bytes()
    assert left.startswith(b"MAIL FROM:<>\nRCPT TO:<ann@mx.example>\n\nFrom: ")
    assert left.endswith(b"Subject: x\n\nhi\n")


def test_what_lies_in_the_drop_is_delivered_when_the_server_comes(home: Path) -> None:
    (home / "state" / "drop").mkdir(parents=True)
    assert sendmail(home, "-f", "ann", "ann").returncode == 0
    running = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json", "--listen", LOOPBACK], home)
    try:
        assert running.wait_for("drop_taken")["recipients"] == ["ann@mx.example"]
        running.wait_for("recipient_delivered")
    finally:
        running.end()
    (received,) = stored(home)
    assert b"(from user " in received
    assert received.endswith(b"Subject: x\n\nhi\n")
    assert os.listdir(home / "state" / "drop") == []


def test_without_either_it_says_so_and_is_to_be_tried_again(home: Path) -> None:
    done = sendmail(home, "ann")
    assert done.returncode == 75
    assert done.stderr.startswith(b"sendmail: cannot connect: ")
    assert b"drop" in done.stderr
    assert len(done.stderr.splitlines()) == 1
