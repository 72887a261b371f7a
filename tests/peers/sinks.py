"""Postfix's C{smtp-sink}, which can misbehave at every stage."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import programs
from tests.peers.server import DEADLINE, await_listener

_BACKLOG = "100"
_DUMPED = re.compile(rb"\A(?:X-[^\n]+\n)+Received: [^\n]+\n(?:\t[^\n]+\n)*")


@contextmanager
def sink(address: str, port: int, *options: str, captured: Path | None = None) -> Iterator[None]:
    """One that listens there.

    @param captured: an empty directory, to which every message is written.
    """
    command = [programs.path("smtp-sink")]
    if captured is not None:
        captured.mkdir()
        captured.chmod(0o777)
        command += ["-d", f"{captured}/%M."]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]
    process = subprocess.Popen([*command, *options, f"{address}:{port}", _BACKLOG], stderr=subprocess.PIPE)
    try:
        await_listener(address, port, lambda: process.poll() is None)
        yield
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE)


def messages(captured: Path) -> list[bytes]:
    """The messages that a sink has written, without its own fields, as they were sent but for line ends LF.

    It says 250 before it writes the last of one, which is waited for.
    """
    deadline = time.monotonic() + DEADLINE
    while True:
        written = [path.read_bytes() for path in sorted(captured.iterdir())]
        if all(octets.endswith(b"\n\n") for octets in written):  # one line end is the sink's
            break
        assert time.monotonic() < deadline, written
    return [_DUMPED.sub(b"", octets, count=1)[:-1] for octets in written]
