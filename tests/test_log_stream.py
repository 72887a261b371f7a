"""A log's reader that sleeps, wakes, or goes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import attrs
import pytest

from mailagent.log_stream import LIMIT, LogStream

LINE = "x" * 99 + "\n"


@attrs.frozen
class Pipe:
    """A small pipe, and the stream that writes into it."""

    out: int
    into: int
    stream: LogStream

    def read_until(self, end: bytes) -> bytes:
        found = b""
        while not found.endswith(end):
            found += os.read(self.out, 65536)
        return found


@pytest.fixture(params=[True, False], ids=["blocking", "refusing"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    out, into = os.pipe()
    os.set_blocking(into, request.param)
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
    stream = LogStream(into, "ascii", lambda count: f"{count} lost\n")
    yield Pipe(out, into, stream)
    stream.close()
    os.close(into)
    os.close(out)


def test_a_line_is_there_at_once_and_what_cannot_be_encoded_is_escaped(pipe: Pipe) -> None:
    pipe.stream.write("grün\n")
    assert os.read(pipe.out, 100) == b"gr\\xfcn\n"


def test_a_reader_that_sleeps_holds_nobody_up_and_gets_all_in_order_when_it_wakes(pipe: Pipe) -> None:
    lines = [f"{number:099}\n" for number in range(500)]
    for line in lines:
        pipe.stream.write(line)
    assert pipe.read_until(lines[-1].encode()) == "".join(lines).encode()


def test_what_is_too_much_is_lost_in_whole_lines_and_told(pipe: Pipe) -> None:
    count = LIMIT // len(LINE) + 1000
    for _ in range(count):
        pipe.stream.write(LINE)
    *lines, last = pipe.read_until(b" lost\n").decode().splitlines(keepends=True)
    assert set(lines) == {LINE}
    assert last == f"{count - len(lines)} lost\n"
    assert len(lines) >= LIMIT // len(LINE)
    pipe.stream.write("again\n")
    assert pipe.read_until(b"again\n") == b"again\n"


def test_a_long_line_is_written_whole(pipe: Pipe) -> None:
    pipe.stream.write("y" * 20_000 + "\n")
    assert pipe.read_until(b"\n") == b"y" * 20_000 + b"\n"


def test_a_reader_that_has_gone_is_nobodys_trouble(pipe: Pipe) -> None:
    for _ in range(100):
        pipe.stream.write(LINE)
    spare = os.dup(pipe.out)
    os.close(pipe.out)
    os.close(spare)
    pipe.stream.close()
    pipe.stream.write(LINE)
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.out)
