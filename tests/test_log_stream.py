"""A log whose disk hangs, fails, or does its work. Pipes: L{tests.test_log_sinks}."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from threading import Event

import attrs
import pytest

from mailagent.log_stream import LIMIT, LogStream

LINE = "x" * 99 + "\n"


@attrs.define
class Disk:
    """A file on it. A write waits until C{works} is set.

    @ivar begun: set once there has been a write.
    @ivar room: octets that can be written, beyond which it is full.
    @ivar piece: octets that are written at a time.
    """

    may_hang = True
    written: bytes = b""
    room: int = sys.maxsize
    piece: int = sys.maxsize
    rotations: list[bytes] = attrs.field(factory=list)
    fails: Exception | None = None
    works: Event = attrs.field(factory=Event)
    begun: Event = attrs.field(factory=Event)

    def write(self, octets: memoryview, wait: bool) -> int:
        self.begun.set()
        assert self.works.wait(30)
        if not self.room:
            raise OSError(errno.ENOSPC, "full")
        fitting = bytes(octets[: min(self.room, self.piece)])
        self.written += fitting
        self.room -= len(fitting)
        return len(fitting)

    def rotate(self) -> None:
        if self.fails is not None:
            raise self.fails
        self.rotations.append(self.written)
        self.written = b""


@pytest.fixture
def disk() -> Disk:
    disk = Disk()
    disk.works.set()
    return disk


@pytest.fixture
def stream(disk: Disk) -> Iterator[LogStream]:
    stream = LogStream(disk, "utf-8", lambda count: f"{count} lost\n")
    stream.begin()
    yield stream
    disk.works.set()
    stream.close()


def hang(disk: Disk, stream: LogStream) -> None:
    """A line is being written, and will be until the disk works."""
    disk.works.clear()
    disk.begun.clear()
    stream.write("first\n")
    assert disk.begun.wait(30)


def test_before_the_beginning_it_is_written_at_once(disk: Disk) -> None:
    stream = LogStream(disk, "ascii", str)
    stream.write("grün\n")
    assert disk.written == b"gr\\xfcn\n"


def test_a_disk_that_hangs_holds_nobody_up_and_gets_all_in_order_when_it_works(disk: Disk, stream: LogStream) -> None:
    hang(disk, stream)
    lines = "".join(f"{number:099}\n" for number in range(500))
    for line in lines.splitlines(keepends=True):
        stream.write(line)
    assert disk.written == b""
    disk.works.set()
    stream.close()
    assert disk.written == b"first\n" + lines.encode()


def test_what_is_too_much_is_lost_and_told_by_lines(disk: Disk, stream: LogStream) -> None:
    hang(disk, stream)
    most = LIMIT // (2 * len(LINE))
    for _ in range(most + 3):
        stream.write(LINE * 2)
    disk.works.set()
    stream.close()
    assert disk.written.decode() == "first\n" + LINE * 2 * most + "6 lost\n"


def test_what_cannot_be_written_is_told_when_something_can(disk: Disk, stream: LogStream) -> None:
    disk.room = 0
    for _ in range(2):
        stream.write(LINE)
    stream.close()
    disk.room = sys.maxsize
    stream.begin()
    stream.write("again\n")
    stream.close()
    assert disk.written == b"again\n2 lost\n"


def test_what_is_written_in_part_is_continued(disk: Disk, stream: LogStream) -> None:
    disk.piece = 7
    stream.write(LINE + "second\n")
    stream.close()
    assert disk.written.decode() == LINE + "second\n"


def test_a_line_that_was_torn_ends_where_it_was_torn_and_counts_as_lost(disk: Disk, stream: LogStream) -> None:
    disk.room = 10
    stream.write("whole\ntorn here\nmore\n")
    stream.close()
    disk.room = sys.maxsize
    stream.write("again\n")
    assert disk.written == b"whole\ntorn\nagain\n2 lost\n"


def test_a_count_that_could_not_be_written_is_told_later(disk: Disk, stream: LogStream) -> None:
    disk.room = 0
    stream.write(LINE)
    stream.close()
    disk.room = 9
    stream.write("again\n")
    disk.room = sys.maxsize
    stream.write("third\n")
    assert disk.written == b"again\n1 l\nthird\n1 lost\n"


def test_the_count_has_the_encoding_of_the_log(disk: Disk) -> None:
    stream = LogStream(disk, "utf-16-le", lambda count: f"{count} verlören\n")
    disk.room = 0
    stream.write(LINE)
    disk.room = sys.maxsize
    stream.write("again\n")
    assert disk.written.decode("utf-16-le") == "again\n1 verlören\n"


@pytest.mark.parametrize("trouble", [OSError(errno.EMFILE, "Too many open files"), ValueError("closed")])
def test_a_new_file_that_cannot_be_had_does_not_end_the_log(disk: Disk, stream: LogStream, trouble: Exception) -> None:
    disk.fails = trouble
    stream.write("first\n")
    stream.rotate()
    while stream._rotating:
        stream.write("")
    hang(disk, stream)
    disk.works.set()
    stream.close()
    assert disk.written == b"first\nfirst\n"


def test_a_new_file_begins_after_what_was_written_before(disk: Disk, stream: LogStream) -> None:
    hang(disk, stream)
    stream.write("second\n")
    stream.rotate()
    disk.works.set()
    stream.close()
    assert b"".join(disk.rotations) + disk.written == b"first\nsecond\n"
    assert disk.rotations[0].startswith(b"first\n")
    assert len(disk.rotations) == 1


def test_after_the_end_it_is_written_at_once(disk: Disk, stream: LogStream) -> None:
    stream.close()
    stream.write("late\n")
    assert disk.written == b"late\n"


def test_an_end_does_not_wait_for_a_disk_that_hangs(disk: Disk, stream: LogStream) -> None:
    hang(disk, stream)
    stream.close()
    assert disk.written == b""
