"""A log's file on a disk that hangs, fails, or does its work."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from threading import Event

import attrs
import pytest

from mailagent.log_file import LIMIT, LogFileStream

LINE = "x" * 99 + "\n"


@attrs.define
class Disk:
    """A file on it. A write waits until C{works} is set.

    @ivar begun: set once there has been a write.
    @ivar full: nothing can be written.
    """

    written: bytes = b""
    full: bool = False
    rotations: list[bytes] = attrs.field(factory=list)
    works: Event = attrs.field(factory=Event)
    begun: Event = attrs.field(factory=Event)

    def write(self, octets: bytes) -> None:
        self.begun.set()
        assert self.works.wait(30)
        if self.full:
            raise OSError(errno.ENOSPC, "full")
        self.written += octets

    def rotate(self) -> None:
        self.rotations.append(self.written)
        self.written = b""


@pytest.fixture
def disk() -> Disk:
    disk = Disk()
    disk.works.set()
    return disk


@pytest.fixture
def stream(disk: Disk) -> Iterator[LogFileStream]:
    stream = LogFileStream(disk, "utf-8", lambda count: f"{count} lost\n", disk.rotate)
    stream.begin()
    yield stream
    disk.works.set()
    stream.close()


def hang(disk: Disk, stream: LogFileStream) -> None:
    """A line is being written, and will be until the disk works."""
    disk.works.clear()
    disk.begun.clear()
    stream.write("first\n")
    assert disk.begun.wait(30)


def test_before_the_beginning_it_is_written_at_once(disk: Disk) -> None:
    stream = LogFileStream(disk, "ascii", str)
    stream.write("grün\n")
    assert disk.written == b"gr\\xfcn\n"


def test_a_disk_that_hangs_holds_nobody_up_and_gets_all_in_order_when_it_works(
    disk: Disk, stream: LogFileStream
) -> None:
    hang(disk, stream)
    lines = "".join(f"{number:099}\n" for number in range(500))
    for line in lines.splitlines(keepends=True):
        stream.write(line)
    assert disk.written == b""
    disk.works.set()
    stream.close()
    assert disk.written == b"first\n" + lines.encode()


def test_what_is_too_much_is_lost_and_told_by_lines(disk: Disk, stream: LogFileStream) -> None:
    hang(disk, stream)
    most = LIMIT // (2 * len(LINE))
    for _ in range(most + 3):
        stream.write(LINE * 2)
    disk.works.set()
    stream.close()
    assert disk.written.decode() == "first\n" + LINE * 2 * most + "6 lost\n"


def test_what_cannot_be_written_is_told_when_something_can(disk: Disk, stream: LogFileStream) -> None:
    disk.full = True
    for _ in range(2):
        stream.write(LINE)
    stream.close()
    disk.full = False
    stream.begin()
    stream.write("again\n")
    stream.close()
    assert disk.written == b"again\n2 lost\n"


def test_a_new_file_begins_after_what_was_written_before(disk: Disk, stream: LogFileStream) -> None:
    hang(disk, stream)
    stream.write("second\n")
    stream.rotate()
    disk.works.set()
    stream.close()
    assert b"".join(disk.rotations) + disk.written == b"first\nsecond\n"
    assert disk.rotations[0].startswith(b"first\n")
    assert len(disk.rotations) == 1


def test_after_the_end_it_is_written_at_once(disk: Disk, stream: LogFileStream) -> None:
    stream.close()
    stream.write("late\n")
    assert disk.written == b"late\n"


def test_an_end_does_not_wait_for_a_disk_that_hangs(disk: Disk, stream: LogFileStream) -> None:
    hang(disk, stream)
    stream.close()
    assert disk.written == b""
