"""A log's reader that sleeps, wakes, or goes; and its file, which is followed by another."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from mailagent import log_sinks
from mailagent.log_sinks import FileSink, PipeSink, RotatingFile
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
    stream = LogStream(PipeSink(into), "ascii", lambda count: f"{count} lost\n")
    stream.begin()
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
    count = LIMIT // len(LINE) // 2 * 2 + 1000
    for _ in range(count // 2):
        pipe.stream.write(LINE * 2)
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


def put(file: FileSink, line: bytes) -> None:
    assert file.write(memoryview(line), wait=True) == len(line)


def test_a_file_is_appended_to_and_followed_by_new_ones_that_may_be_read_by_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    path.chmod(0o640)
    file = RotatingFile(str(path))
    for line in (b"first\n", b"second\n", b"third\n"):
        put(file, line)
        file.rotate()
    found = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert found == {"log": b"", "log.1": b"third\n", "log.2": b"second\n", "log.3": b"before\nfirst\n"}
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o640}


def test_a_file_that_is_full_is_followed_by_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sinks, "_FULL", 10)
    file = RotatingFile(str(tmp_path / "log"))
    for line in (b"123456789\n", b"next\n", b"more\n"):
        put(file, line)
    assert (tmp_path / "log.1").read_bytes() == b"123456789\n"
    assert (tmp_path / "log").read_bytes() == b"next\nmore\n"


def test_a_file_that_another_has_moved_is_followed_by_a_new_one(tmp_path: Path) -> None:
    file = RotatingFile(str(tmp_path / "log"))
    put(file, b"first\n")
    (tmp_path / "log").rename(tmp_path / "log.1")
    file.rotate()
    put(file, b"second\n")
    assert [(tmp_path / name).read_bytes() for name in ("log.1", "log")] == [b"first\n", b"second\n"]


@pytest.mark.parametrize("fails", ["FileIO", "os.rename", "os.fchmod"])
def test_a_file_that_no_new_one_can_follow_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    file = RotatingFile(str(tmp_path / "log"))
    put(file, b"first\n")

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(f"mailagent.log_sinks.{fails}", refuse)
        with pytest.raises(OSError, match="Too many"):
            file.rotate()
    put(file, b"second\n")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"log": b"first\nsecond\n"}
    file.rotate()
    assert (tmp_path / "log.1").read_bytes() == b"first\nsecond\n"


def test_what_is_no_file_stays_where_it_is() -> None:
    file = RotatingFile("/dev/null")
    file.rotate()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
