"""What measurements do with processes: the processor time of a whole family of them, and a sink that counts."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

from tests import programs
from tests.peers.server import DEADLINE, free_port

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Processor time used so far by a process and all below it, those that have ended included."""
    family, found = {pid}, 0.0
    stats = sorted(_stats(), key=lambda stat: stat[0])
    grown = True
    while grown:
        below = {child for child, parent, _ in stats if parent in family} - family
        family |= below
        grown = bool(below)
    for process, _, seconds in stats:
        if process in family:
            found += seconds
    return found


def _stats() -> list[tuple[int, int, float]]:
    """Every process, its parent, and the seconds that it and its ended children have used."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append((int(path.parent.name), int(fields[1]), sum(map(int, fields[11:15])) / _TICKS))
    return found


def await_port(port: int) -> None:
    """Return as soon as somebody listens there.

    @raise SystemExit: nobody does.
    """
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), DEADLINE).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise SystemExit(f"nobody listens on port {port}") from None
            time.sleep(0.05)


class Sink:
    """An C{smtp-sink} that takes all mail and counts it.

    @ivar port: where it listens.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [programs.path("smtp-sink"), "-c", *user, f"127.0.0.1:{self.port}", "1000"]
        self._output = directory / "sink"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    @property
    def count(self) -> int:
        """Messages that have come."""
        size = self._output.stat().st_size
        with self._output.open("rb") as output:
            output.seek(max(0, size - 1000))
            counts = re.findall(rb"mesg=(\d+)\s", output.read())
        return int(counts[-1]) if counts else 0

    def wait_for(self, count: int, seconds: float = 20 * DEADLINE, look: float = 0.01) -> None:
        """Return as soon as so many messages have come.

        @param look: seconds between looks.
        @raise SystemExit: they have not, for so many C{seconds}.
        """
        end = time.monotonic() + seconds
        while self.count < count:
            if time.monotonic() > end or self._process.poll() is not None:
                raise SystemExit(f"{self.count} of {count} messages have arrived at the sink, and no more come")
            time.sleep(look)

    def end(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()
