"""A log that nobody reads, or whose disk hangs, under the real process."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
from pathlib import Path

import pytest

from tests.faults.site import SMALL, USER1, build, send
from tests.peers.mail import new
from tests.peers.server import DEADLINE, TWISTD, Server, await_listener, environment, free_port


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.torture)])
def test_a_pipe_that_nobody_reads_holds_up_neither_mail_nor_the_stop(tmp_path: Path, workers: int) -> None:
    port = free_port()
    command = [
        str(TWISTD),
        "-n",
        "--pidfile=",
        "mailagent",
        "--workers",
        str(workers),
        "--listen",
        f"tcp:{port}:interface=127.0.0.1",
    ]
    out, into = os.pipe()
    os.set_blocking(into, False)
    os.write(into, bytes(1024 * 1024))  # as much as there is room for
    os.set_blocking(into, True)
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=into) as process:
        try:
            await_listener("127.0.0.1", port, lambda: process.poll() is None)
            with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as client:
                client.ehlo()
                for _ in range(10):
                    assert send(client, SMALL, USER1)[0] == 250
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
            os.close(into)
            os.close(out)
    assert len(new(tmp_path / "mailboxes" / "user1")) == 10


@pytest.mark.requires("cc")
@pytest.mark.parametrize("workers", [2, pytest.param(1, marks=pytest.mark.torture)])
def test_a_disk_that_hangs_under_the_log_holds_up_neither_mail_nor_the_stop(tmp_path: Path, workers: int) -> None:
    port, faults, log = free_port(), tmp_path / "faults", tmp_path / "server.log"
    more = {"LD_PRELOAD": str(build(tmp_path)), "FAULTS": str(faults)}
    command = [str(TWISTD), "-n", "--pidfile=", f"--logfile={log}", "mailagent", "--workers", str(workers)]
    server = Server([*command, "--listen", f"tcp:{port}:interface=127.0.0.1"], tmp_path, environment(**more))
    try:
        await_listener("127.0.0.1", port, lambda: server.lives)
        with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as client:
            faults.write_text(f"write {log.name} 0\n")
            client.ehlo()
            for _ in range(10):
                assert send(client, SMALL, USER1)[0] == 250
            assert "stored" not in log.read_text()
            faults.unlink()
            while log.read_text().count("stored") < 10:
                socket.create_connection(("127.0.0.1", port), DEADLINE).close()
            faults.write_text(f"write {log.name} 0\n")
            assert send(client, SMALL, USER1)[0] == 250
        server.stop()
    finally:
        server.end()
    assert len(new(server.mailboxes / "user1")) == 11
