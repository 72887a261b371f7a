"""Where drafts are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.compose.draft_folder import DraftFolder, NotKept


def test_a_draft_is_for_its_user_only(tmp_path: Path) -> None:
    path = DraftFolder((tmp_path / "a" / "b",)).keep("x.eml", [b"text\n"])
    assert path == tmp_path / "a" / "b" / "x.eml"
    assert path.read_bytes() == b"text\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_gives_way_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = DraftFolder((tmp_path / "file" / "drafts", tmp_path))
    assert folder.keep("x.eml", [b"text\n"]).parent == tmp_path


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = DraftFolder((tmp_path, tmp_path / "other"))
    assert folder.keep("x.eml", [b"1"]) != folder.keep("x.eml", [b"2"])
    assert (tmp_path / "x.eml").read_bytes() == b"1"


def test_a_disk_that_is_full_leaves_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotKept, match="No space left"):
        DraftFolder((tmp_path,)).keep("x.eml", [b"text\n"])
    assert list(tmp_path.iterdir()) == []


def test_a_draft_whose_attachment_is_gone_leaves_no_debris(tmp_path: Path) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"text\n"
        raise OSError(2, "No such file")

    with pytest.raises(NotKept, match="No such file"):
        DraftFolder((tmp_path,)).keep("x.eml", blocks())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/ann"}, "/state/mailagent/drafts"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/ann"}, "/home/ann/.local/state/mailagent/drafts"),
        ({"HOME": "/home/ann"}, "/home/ann/.local/state/mailagent/drafts"),
    ],
)
def test_the_users_folder_is_where_xdg_says_and_the_working_directory_the_last_resort(
    environment: dict[str, str], folder: str
) -> None:
    assert DraftFolder.of_user(environment).folders == (Path(folder), Path.cwd())
