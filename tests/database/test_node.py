"""Who this node is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailagent.database.node import node_id


def test_the_id_lasts(tmp_path: Path) -> None:
    first = node_id(str(tmp_path), b"a" * 16)
    assert first == "61" * 16
    assert node_id(str(tmp_path), b"b" * 16) == first


def test_a_damaged_file_is_no_id(tmp_path: Path) -> None:
    (tmp_path / "node").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="remove it"):
        node_id(str(tmp_path), b"a" * 16)
