"""What a server's processes hold over a long time: looked at again and again, and judged in the end.

The first third of the looks is warming up: pools fill, caches do. What the last third shows beyond the middle one is
growth, and growth that does not end is a leak.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import linear_regression, median

import attrs

from bench.observe import family

#: What is looked at, and by how much the last third may exceed the middle one: a share of it, and so much besides.
ALLOWED = {"RSS, KiB": (0.03, 1024.0), "PSS, KiB": (0.03, 1024.0), "descriptors": (0.0, 4.0), "threads": (0.0, 2.0)}
_NUMBER = re.compile(rb"mailagent\.workers\0(\d+)")
_MEMORY = re.compile(r"^(Rss|Pss): +(\d+) kB", re.MULTILINE)

#: What a process holds, by L{ALLOWED}'s names.
Held = Mapping[str, float]


def held(pid: int) -> Held:
    """What a process holds now."""
    process = Path(f"/proc/{pid}")
    kibibytes = dict(_MEMORY.findall((process / "smaps_rollup").read_text()))
    return {
        "RSS, KiB": float(kibibytes["Rss"]),
        "PSS, KiB": float(kibibytes["Pss"]),
        "descriptors": float(sum(1 for _ in (process / "fd").iterdir())),
        "threads": float(sum(1 for _ in (process / "task").iterdir())),
    }


def names(pid: int) -> dict[int, str]:
    """The processes of a server: the first one, and its workers by their numbers."""
    found = {pid: "owner"}
    for each in family(pid) - {pid}:
        number = _NUMBER.search(Path(f"/proc/{each}/cmdline").read_bytes())
        found[each] = f"worker {number[1].decode()}" if number else f"process {each}"
    return found


@attrs.frozen
class Line:
    """One quantity of one process: its medians in each third of the time, and what it gains in an hour thereafter."""

    process: str
    what: str
    first: float
    middle: float
    last: float
    per_hour: float

    @classmethod
    def of(cls, process: str, what: str, times: Sequence[float], values: Sequence[float]) -> Line:
        """Three looks are the least. C{times} are in seconds."""
        third = len(values) // 3
        first, middle, last = (median(part) for part in (values[:third], values[third:-third], values[-third:]))
        slope = linear_regression(times[third:], values[third:]).slope
        return cls(process, what, first, middle, last, slope * 3600)

    @property
    def grows(self) -> bool:
        """Whether it has more than it may."""
        share, besides = ALLOWED[self.what]
        return self.last > self.middle * (1 + share) + besides

    def __str__(self) -> str:
        figures = "".join(f"{value:>12,.0f}" for value in (self.first, self.middle, self.last))
        return f"{self.process:<10}{self.what:<12}{figures}{self.per_hour:>+12,.0f}{'  GROWS' * self.grows}"


HEADING = f"{'process':<10}{'what':<12}{'first':>12}{'middle':>12}{'last':>12}{'per hour':>12}"


class Watch:
    """Looks of one server's processes, which must be the same all the time.

    @ivar changed: whether they were not.
    """

    def __init__(self, pid: int) -> None:
        self.changed = False
        self._pid = pid
        self._names = names(pid)
        self._times: list[float] = []
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def look(self) -> None:
        """Look once."""
        try:
            self.changed |= family(self._pid) != self._names.keys()
            found = {name: held(pid) for pid, name in self._names.items()}
        except (FileNotFoundError, ProcessLookupError):
            self.changed = True
            return
        self._times.append(time.monotonic())
        for name, quantities in found.items():
            for what, value in quantities.items():
                self._values[name, what].append(value)

    @contextmanager
    def looking(self, seconds: float) -> Iterator[None]:
        """Look every so many seconds, as long as the block runs."""
        done = threading.Event()

        def work() -> None:
            while not done.wait(seconds):
                self.look()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def lines(self) -> list[Line]:
        """What there was, process by process.

        @raise SystemExit: there were too few looks to tell.
        """
        if len(self._times) < 6:
            raise SystemExit(f"{len(self._times)} looks are too few to tell whether anything grows")
        return [Line.of(*key, self._times, values) for key, values in sorted(self._values.items())]
