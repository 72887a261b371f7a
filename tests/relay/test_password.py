"""A next hop's password, from its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailagent.relay.password import PasswordUnusable, read_password


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"s\xc3\xa9same", b"s\xc3\xa9same\n", b"s\xc3\xa9same\r\nmore\n"])
def test_it_is_the_first_line(tmp_path: Path, content: bytes) -> None:
    assert read_password(written(tmp_path / "pw", content)) == "s\xe9same"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_owner_and_group_may_read_it(tmp_path: Path, mode: int) -> None:
    assert read_password(written(tmp_path / "pw", b"x", mode)) == "x"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644])
def test_others_may_not(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PasswordUnusable, match="chmod 600"):
        read_password(written(tmp_path / "pw", b"x", mode))


@pytest.mark.parametrize("content", [b"", b"\nx", b"\xff\xfe"])
def test_without_text_in_its_first_line_it_is_unusable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PasswordUnusable):
        read_password(written(tmp_path / "pw", content))


def test_what_is_no_file_or_not_there_is_unusable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "missing", "."):
        with pytest.raises(PasswordUnusable):
            read_password(tmp_path / name)
