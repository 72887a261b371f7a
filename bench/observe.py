"""What a server's processes do while they work: the memory they have, and how often they have the disk synchronise."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import programs
from tests.peers.server import DEADLINE

#: System calls that return once something is on stable storage.
SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range", "sync")
_LOOK = 0.1


def family(pid: int) -> set[int]:
    """A process and all that live below it."""
    found = {pid}
    for thread in Path(f"/proc/{pid}/task").glob("[0-9]*/children"):
        try:
            children = thread.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found |= family(int(child))
    return found


def memory(pid: int) -> int:
    """Octets of memory of a process and all below it; what several share is counted once (PSS)."""
    total = 0
    for process in family(pid):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        found = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


class Peak:
    """The most memory seen.

    @ivar octets: how much.
    """

    octets = 0


@contextmanager
def peak_memory(pid: int) -> Iterator[Peak]:
    """Look several times a second how much memory they have, as long as the block runs."""
    peak, done = Peak(), threading.Event()

    def look() -> None:
        while True:
            peak.octets = max(peak.octets, memory(pid))
            if done.wait(_LOOK):
                break

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


class Syncs:
    """What C{strace} has counted.

    @ivar count: calls of L{SYNCS}, once the block has ended; C{None} where C{strace} is missing, or is not allowed to.
    """

    count: int | None = None


@contextmanager
def syncs(pid: int, directory: Path) -> Iterator[Syncs]:
    """Count what a process and all below it synchronise, as long as the block runs. It slows them down."""
    found, program = Syncs(), programs.find("strace")
    if program is None:
        yield found
        return
    summary, processes = directory / "strace", family(pid)
    command = [program, "-f", "-c", "-o", str(summary), "-e", f"trace={','.join(SYNCS)}"]
    tracer = subprocess.Popen([*command, *(f"-p{each}" for each in processes)], stderr=subprocess.DEVNULL)
    try:
        traced = _traced(processes, tracer)
        yield found
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(DEADLINE)
    found.count = calls(summary.read_text()) if traced else None


def _traced(processes: set[int], tracer: subprocess.Popen[bytes]) -> bool:
    """Whether all of them are traced, as soon as that is known."""
    while tracer.poll() is None:
        states = [path.read_text() for each in processes if (path := Path(f"/proc/{each}/status")).exists()]
        if all(f"TracerPid:\t{tracer.pid}" in state for state in states):
            return True
        time.sleep(_LOOK)
    return False


def calls(summary: str) -> int:
    """All calls in what C{strace -c} has written: the column before the last but errors, of every line with numbers."""
    lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", summary, re.MULTILINE)
    return sum(int(number) for number, name in lines if name != "total")
