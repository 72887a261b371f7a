"""A queue's work in a process whose every write and sync of the database's files is recorded, one after the other; and
what a power cut between any two of them may leave.

C{python -m tests.crash.recording DIRECTORY SEED STEPS} is that process. Where it has got to it writes, as marks, into a
file that is recorded like the others, so that marks stand in the record where they belong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from random import Random
from struct import Struct
from typing import Any

import attrs

from tests import programs
from tests.crash.disk import Disk
from tests.crash.work import STATES, Cut, Work
from tests.database.support import Database
from tests.peers.server import DEADLINE, environment

DATABASE, LOG, MARKS = "queue.db", "queue.db-wal", "marks"
_SOURCE = Path(__file__).with_name("record.c")
_HEAD = Struct("=cBQQ")
_SECTOR = 512


class MarkedWork(Work):
    """Work that marks the end of each transaction, and each acknowledgement."""

    def __init__(self, database: Database, random: Random, marks: int) -> None:
        self._marks = marks
        super().__init__(database, random)

    def _boundary(self) -> None:
        """The record has it."""

    def _committed(self) -> None:
        self._states = self._database.rows(STATES)
        self._mark()

    def _enqueue(self, number: int, content: list[bytes]) -> None:
        super()._enqueue(number, content)
        self._mark()

    def _mark(self) -> None:
        reached = {"states": self._states, "acknowledged": sorted(self._acknowledged)}
        os.pwrite(self._marks, json.dumps(reached).encode(), 0)


def work(directory: Path, seed: int, steps: int) -> None:
    """What the process does. In the end it writes what was sent to the file C{sent}."""
    marks = os.open(directory / MARKS, os.O_WRONLY | os.O_CREAT)
    with Database(directory) as database:
        done = MarkedWork(database, Random(seed), marks)
        done.run(steps)
    sent = {id_: content.decode("latin-1") for id_, content in done.sent.items()}
    (directory / "sent").write_text(json.dumps(sent))


@attrs.frozen
class Entry:
    """What was done to a file: C{W}ritten, C{T}runcated, or C{S}ynced."""

    what: str
    name: str
    at: int
    octets: bytes

    def apply(self, content: bytearray) -> None:
        """Do it again."""
        if self.what == "T":
            del content[self.at :]
        content.extend(bytes(max(0, self.at - len(content))))
        content[self.at : self.at + len(self.octets)] = self.octets

    def torn(self, random: Random) -> Iterator[Entry]:
        """What may be left of it: all, nothing, or some of its sectors."""
        if self.what == "T":
            if random.random() < 0.5:
                yield self
            return
        share = random.choice((0.0, 0.5, 1.0))
        for start in range(0, len(self.octets), _SECTOR):
            if random.random() < share:
                yield attrs.evolve(self, at=self.at + start, octets=self.octets[start : start + _SECTOR])


@attrs.frozen
class File:
    """One on the disk, and what was done since it was synced."""

    synced: bytearray = attrs.field(factory=bytearray)
    pending: list[Entry] = attrs.field(factory=list)

    def do(self, entry: Entry) -> None:
        if entry.what == "S":
            for each in self.pending:
                each.apply(self.synced)
            self.pending.clear()
        else:
            self.pending.append(entry)

    def left(self, random: Random | None, *, all_of_it: bool = False) -> bytes:
        """What may be there after a power cut: what was synced, with all or, as C{random} has it, some of the rest."""
        content = bytearray(self.synced)
        for entry in self.pending:
            for part in [entry] if all_of_it else entry.torn(random) if random else []:
                part.apply(content)
        return bytes(content)


@attrs.frozen
class Record:
    """All that was done, and what had been sent."""

    entries: Sequence[Entry]
    sent: dict[str, bytes]

    @classmethod
    def of(cls, directory: Path, seed: int, steps: int) -> Record:
        """Have it done."""
        words = [sys.executable, "-m", __name__, str(directory), str(seed), str(steps)]
        subprocess.run(words, check=True, timeout=10 * DEADLINE, env=environment(**recorded(directory)))
        sent = json.loads((directory / "sent").read_text())
        return cls(entries(directory), {id_: text.encode("latin-1") for id_, text in sent.items()})

    @property
    def places(self) -> list[int]:
        """Where the power may go: after each entry from the first mark to the last."""
        marks = [number for number, entry in enumerate(self.entries) if entry.name == MARKS]
        return [number for number in range(marks[0], marks[-1]) if self.entries[number].name != MARKS]

    @property
    def checkpoints(self) -> list[int]:
        """Those of them that are within a checkpoint: where the log is copied into the database."""
        return [number for number in self.places if self.entries[number].name == DATABASE]

    def cuts(self, places: set[int], random: Random, torn: int) -> Iterator[tuple[Disk, Cut]]:
        """What may be on the disk after a power cut at each place, and what must be (L{disks})."""
        marks = [(number, *_marked(entry)) for number, entry in enumerate(self.entries) if entry.name == MARKS]
        for place, disk in disks(self.entries, places, random, torn):
            _, before, acknowledged = max((each for each in marks if each[0] < place), key=itemgetter(0))
            _, after, _ = min((each for each in marks if each[0] > place), key=itemgetter(0))
            yield disk, Cut(disk, disk, (before, after), acknowledged)


def disks(entries: Sequence[Entry], places: set[int], random: Random, torn: int) -> Iterator[tuple[int, Disk]]:
    """What may be on the disk after a power cut at each place: without and with all that was not synced, and C{torn}
    times with some of it."""
    files = {DATABASE: File(), LOG: File(), MARKS: File()}
    database, log = files[DATABASE], files[LOG]
    for number, entry in enumerate(entries):
        files[entry.name].do(entry)
        if number in places:
            for full in (False, True):
                yield number, Disk(database.left(None, all_of_it=full), log.left(None, all_of_it=full))
            for _ in range(torn):
                yield number, Disk(database.left(random), log.left(random))


def recorded(directory: Path) -> dict[str, str]:
    """The environment of a process whose doings are to be recorded there."""
    library = directory / "record.so"
    command = [programs.path("cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=DEADLINE)
    names = "".join(f"{name}:" for name in (DATABASE, LOG, MARKS))
    return {"LD_PRELOAD": str(library), "RECORD": str(_record(directory)), "RECORDED": names}


def mark(directory: Path, octets: bytes) -> None:
    """Put a mark into a record, from another process."""
    with _record(directory).open("ab", buffering=0) as record:
        record.write(_HEAD.pack(b"W", len(MARKS), 0, len(octets)) + MARKS.encode() + octets)


def entries(directory: Path) -> list[Entry]:
    """What was recorded there."""
    return list(_entries(_record(directory).read_bytes()))


def _record(directory: Path) -> Path:
    return directory / "record"


def _marked(entry: Entry) -> tuple[list[Any], frozenset[str]]:
    reached = json.loads(entry.octets)
    return [tuple(row) for row in reached["states"]], frozenset(reached["acknowledged"])


def _entries(octets: bytes) -> Iterator[Entry]:
    start = 0
    while start < len(octets):
        what, length, at, size = _HEAD.unpack_from(octets, start)
        start += _HEAD.size
        name = octets[start : start + length].decode()
        start += length
        yield Entry(what.decode(), name, at, octets[start : start + size])
        start += size


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
