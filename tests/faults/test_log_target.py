"""A log that nobody reads, under the real process."""

from __future__ import annotations

import os
import signal
import smtplib
import subprocess
from pathlib import Path

from tests.faults.site import SMALL, USER1, send
from tests.peers.mail import new
from tests.peers.server import DEADLINE, TWISTD, await_listener, environment, free_port


def test_a_pipe_that_nobody_reads_holds_up_neither_mail_nor_the_stop(tmp_path: Path) -> None:
    port = free_port()
    command = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--listen", f"tcp:{port}:interface=127.0.0.1"]
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
