"""Which file systems are synced as a whole, and when they are not."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from mailagent.maildir.file_systems import REST, SLOW, FileSystems


def kind(path: Path) -> int:
    """Of the file system that a directory is on, as coreutils have it."""
    command = ["stat", "--file-system", "--format=%t", str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout, 16)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def found(tmp_path: Path, clock: Clock) -> FileSystems:
    """Those that may be synced as a whole, the one that the test is on among them."""
    return FileSystems(frozenset({kind(tmp_path)}), "6.1.0-test", clock.seconds)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def taking(clock: Clock, seconds: float, check: Callable[[], object] = lambda: None) -> Callable[[int], int]:
    """A C{syncfs} that takes so long."""

    def syncfs(fd: int) -> int:
        clock.advance(seconds)
        check()
        return 0

    return syncfs


def test_one_that_is_known_to_report_errors_is_synced_as_a_whole(found: FileSystems, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert found.number(str(tmp_path)) == found.number(str(tmp_path / "one")) == os.stat(tmp_path).st_dev
    with opened(tmp_path) as fd:
        (tmp_path / "file").write_bytes(b"text")
        found.sync(fd)


def test_one_of_another_kind_is_not(tmp_path: Path) -> None:
    assert FileSystems(frozenset({kind(tmp_path) + 1}), "6.1.0").number(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("release", "modern"),
    [
        ("5.16.20", False),
        ("4.19.0-27-amd64", False),
        ("odd", False),
        ("5.17.0", True),
        ("6.1.0-1", True),
        ("10.0", True),
    ],
)
def test_a_kernel_that_swallows_errors_is_not_believed(tmp_path: Path, release: str, modern: bool) -> None:
    assert (FileSystems(frozenset({kind(tmp_path)}), release).number(str(tmp_path)) is not None) == modern


def test_what_is_not_there_is_on_none(found: FileSystems, tmp_path: Path) -> None:
    assert found.number(str(tmp_path / "none")) is None


def test_a_failure_is_raised(found: FileSystems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found.number(str(tmp_path))
    monkeypatch.setattr(found._libc, "syncfs", lambda fd: -1)
    monkeypatch.setattr("ctypes.get_errno", lambda: 5)
    with opened(tmp_path) as fd, pytest.raises(OSError, match="Input/output error"):
        found.sync(fd)


def test_where_it_is_forbidden_it_fails_once(
    found: FileSystems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, again in ((errno.EIO, True), (errno.EPERM, False)):
        assert found.number(str(tmp_path)) is not None
        monkeypatch.setattr(found._libc, "syncfs", lambda fd: -1)
        monkeypatch.setattr("ctypes.get_errno", lambda code=code: code)
        with opened(tmp_path) as fd, pytest.raises(OSError, match=os.strerror(code)):
            found.sync(fd)
        assert (found.number(str(tmp_path)) is not None) == again


def test_one_where_it_took_long_has_a_rest(
    found: FileSystems, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found.number(str(tmp_path))
    monkeypatch.setattr(found._libc, "syncfs", taking(clock, 2 * SLOW))
    with opened(tmp_path) as fd:
        found.sync(fd)
    assert found.number(str(tmp_path)) is None
    clock.advance(REST)
    assert found.number(str(tmp_path)) is not None


def test_nobody_follows_one_that_takes_long(
    found: FileSystems, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []

    def look() -> None:
        seen.append(found.number(str(tmp_path)))

    for seconds in (SLOW / 2, 2 * SLOW):
        found.number(str(tmp_path))
        monkeypatch.setattr(found._libc, "syncfs", taking(clock, seconds, look))
        with opened(tmp_path) as fd:
            found.sync(fd)
    assert seen == [os.stat(tmp_path).st_dev, None]
