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
        mark = {"states": self._states, "acknowledged": sorted(self._acknowledged)}
        os.pwrite(self._marks, json.dumps(mark).encode(), 0)


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
        library, record = directory / "record.so", directory / "record"
        command = [programs.path("cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True, timeout=DEADLINE)
        recorded = "".join(f"{name}:" for name in (DATABASE, LOG, MARKS))
        env = environment(LD_PRELOAD=str(library), RECORD=str(record), RECORDED=recorded)
        words = [sys.executable, "-m", __name__, str(directory), str(seed), str(steps)]
        subprocess.run(words, check=True, timeout=10 * DEADLINE, env=env)
        sent = json.loads((directory / "sent").read_text())
        return cls(list(_entries(record.read_bytes())), {id_: text.encode("latin-1") for id_, text in sent.items()})

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
        """What may be on the disk after a power cut at each place: without and with all that was not synced, and
        C{torn} times with some of it."""
        files = {DATABASE: File(), LOG: File(), MARKS: File()}
        before: list[Any] = []
        acknowledged = frozenset[str]()
        for number, entry in enumerate(self.entries):
            files[entry.name].do(entry)
            if entry.name == MARKS:
                before, acknowledged = _marked(entry)
            if number not in places:
                continue
            after, _ = next(_marked(each) for each in self.entries[number + 1 :] if each.name == MARKS)
            database, log = files[DATABASE], files[LOG]
            left = [Disk(database.left(None, all_of_it=full), log.left(None, all_of_it=full)) for full in (False, True)]
            left += [Disk(database.left(random), log.left(random)) for _ in range(torn)]
            for disk in left:
                yield disk, Cut(disk, disk, (before, after), acknowledged)


def _marked(entry: Entry) -> tuple[list[Any], frozenset[str]]:
    mark = json.loads(entry.octets)
    return [tuple(row) for row in mark["states"]], frozenset(mark["acknowledged"])


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
