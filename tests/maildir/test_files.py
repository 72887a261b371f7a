"""The contract of the file layer, kept by the real one and by the one in memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailagent.maildir.files import FileLayer, Files
from mailagent.maildir.memory import MemoryFiles


@pytest.fixture(params=["real", "memory"])
def layer(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileLayer, str]:
    """A file layer, and a directory in it."""
    if request.param == "real":
        return Files(), str(tmp_path)
    files = MemoryFiles()
    files.make_directory("/box")
    return files, "/box"


def store(files: FileLayer, path: str, content: bytes) -> None:
    fd = files.open_new(path)
    files.write(fd, content)
    files.fsync(fd)
    files.close(fd)


def test_an_anonymous_file_gives_back_what_was_written_and_has_no_name(layer: tuple[FileLayer, str]) -> None:
    files, directory = layer
    fd = files.open_anonymous(directory)
    files.write(fd, b"one ")
    files.write(fd, b"two")
    assert files.read_at(fd, 100, 0) == b"one two"
    assert files.read_at(fd, 2, 4) == b"tw"
    assert files.read_at(fd, 2, 7) == b""
    assert files.list_directory(directory) == []
    files.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.write(fd, b"x")


def test_a_link_is_a_second_name_that_outlives_the_first(layer: tuple[FileLayer, str]) -> None:
    files, directory = layer
    store(files, f"{directory}/a", b"text")
    files.link(f"{directory}/a", f"{directory}/b")
    files.unlink(f"{directory}/a")
    files.fsync_directory(directory)
    assert files.list_directory(directory) == ["b"]


@pytest.mark.parametrize(
    "take",
    [
        lambda files, path: files.open_new(path),
        lambda files, path: files.link(f"{path}-other", path),
        lambda files, path: files.make_directory(path),
    ],
)
def test_nothing_takes_a_name_that_is_taken(
    layer: tuple[FileLayer, str], take: Callable[[FileLayer, str], object]
) -> None:
    files, directory = layer
    store(files, f"{directory}/a", b"text")
    store(files, f"{directory}/a-other", b"other")
    with pytest.raises(FileExistsError):
        take(files, f"{directory}/a")


@pytest.mark.parametrize(
    "use",
    [
        lambda files, path: files.open_new(f"{path}/x"),
        lambda files, path: files.open_anonymous(path),
        lambda files, path: files.fsync_directory(path),
        lambda files, path: files.list_directory(path),
        lambda files, path: files.check_writable(path),
        lambda files, path: files.make_directory(f"{path}/x"),
    ],
)
def test_a_directory_that_is_missing_or_none_is_named_in_the_error(
    layer: tuple[FileLayer, str], use: Callable[[FileLayer, str], object]
) -> None:
    files, directory = layer
    store(files, f"{directory}/file", b"")
    for name, error in (("missing", FileNotFoundError), ("file", NotADirectoryError)):
        with pytest.raises(error) as caught:
            use(files, f"{directory}/{name}")
        assert f"{directory}/{name}" in caught.value.filename


def test_only_a_regular_file_has_a_time(layer: tuple[FileLayer, str]) -> None:
    files, directory = layer
    store(files, f"{directory}/file", b"")
    files.make_directory(f"{directory}/directory")
    assert files.modified(f"{directory}/file") is not None
    assert files.modified(f"{directory}/directory") is None


def test_a_good_directory_is_writable_and_left_as_it_is(layer: tuple[FileLayer, str]) -> None:
    files, directory = layer
    files.check_writable(directory)
    assert files.list_directory(directory) == []


def test_files_are_for_the_owner_alone_and_not_inherited(tmp_path: Path) -> None:
    files = Files()
    files.make_directory(str(tmp_path / "d"))
    fd = files.open_new(str(tmp_path / "d" / "f"))
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    files.close(fd)


def test_a_symbolic_link_has_no_time_whatever_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert Files().modified(str(tmp_path / "link")) is None


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EISDIR])
def test_an_anonymous_file_needs_no_help_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.open

    def without_tmpfile(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(code, os.strerror(code), path)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", without_tmpfile)
    files = Files()
    fd = files.open_anonymous(str(tmp_path))
    files.write(fd, b"text")
    assert files.read_at(fd, 10, 0) == b"text"
    assert list(tmp_path.iterdir()) == []
    files.close(fd)


def test_a_short_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: real(fd, content[:3]))
    files = Files()
    fd = files.open_new(str(tmp_path / "f"))
    files.write(fd, b"0123456789")
    files.close(fd)
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_directory_we_may_not_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, effective_ids: False)
    monkeypatch.setattr(os, "supports_effective_ids", {os.access})
    with pytest.raises(PermissionError) as caught:
        Files().check_writable(str(tmp_path))
    assert caught.value.filename == str(tmp_path)


def test_fsync_reaches_the_file_itself_and_the_directory_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    files = Files()
    fd = files.open_new(str(tmp_path / "file"))
    files.fsync(fd)
    files.close(fd)
    files.fsync_directory(str(tmp_path))
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]
