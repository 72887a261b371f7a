"""The state directory: files made whole, and the number of the server that runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mailagent.state import PidFile, make_directory, make_drop, spool, write_new


def test_the_directory_and_those_above_are_made_and_others_may_pass_through(tmp_path: Path) -> None:
    path = tmp_path / "a" / "state"
    make_directory(str(path))
    make_directory(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o711


def test_the_directory_and_those_above_are_there_to_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is synced into the one above it; the state directory itself even where somebody else has just made it."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    make_directory(str(tmp_path / "a" / "b" / "state"))
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    make_directory(str(tmp_path / "a" / "b" / "state"))
    assert synced[3:] == [str(tmp_path / "a" / "b")]


def test_the_mode_of_a_directory_that_is_there_is_its_owners_business(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o700)
    make_directory(str(tmp_path / "state"))
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(FileExistsError):
        make_directory(str(tmp_path / "state"))


def test_anybody_may_put_files_into_the_drop_and_nobody_look_around(tmp_path: Path) -> None:
    path = Path(make_drop(str(tmp_path)))
    path.chmod(0o777)
    assert make_drop(str(tmp_path)) == str(tmp_path / "drop")
    assert stat.S_IMODE(path.stat().st_mode) == 0o1733


def test_the_drop_is_never_a_link_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "drop").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="drop"):
        make_drop(str(tmp_path))


def test_a_new_file_is_for_us_alone_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_new(str(path), b"content")
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["secret"]


def test_a_file_that_could_not_be_synced_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_new(str(tmp_path / "secret"), b"content")
    assert os.listdir(tmp_path) == []


def test_only_a_running_servers_number_counts(tmp_path: Path) -> None:
    directory = str(tmp_path)
    ours, another = PidFile(directory), PidFile(directory)
    assert another.running() is None
    assert ours.claim()
    assert another.running() == os.getpid()
    assert not another.claim()
    ours.release()
    assert another.running() is None
    assert another.claim()
    another.release()


@pytest.mark.parametrize("content", [b"", b"-1", b"x\n"])
def test_what_is_no_number_is_nobody(tmp_path: Path, content: bytes) -> None:
    holder = PidFile(str(tmp_path))
    assert holder.claim()
    (tmp_path / "mailagent.pid").write_bytes(content)
    assert PidFile(str(tmp_path)).running() is None
    holder.release()


def test_the_directory_has_a_spool(tmp_path: Path) -> None:
    make_directory(str(tmp_path / "state"))
    assert (Path(spool(str(tmp_path / "state"))) / "tmp").is_dir()
