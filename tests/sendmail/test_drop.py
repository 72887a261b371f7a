"""Leaving a message in the drop: whole when it appears, nothing left where it could not be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.sendmail.drop import leave

ENVELOPE = Envelope(None, (Address("ann", "a.example"),))


def test_envelope_and_message_lie_there_for_the_server_to_read(tmp_path: Path) -> None:
    leave(str(tmp_path), ENVELOPE, [b"A: b\n\n", b"hi\n"], "1")
    assert (tmp_path / "1").read_bytes() == b"MAIL FROM:<>\nRCPT TO:<ann@a.example>\n\nA: b\n\nhi\n"
    assert stat.S_IMODE((tmp_path / "1").stat().st_mode) == 0o644


def test_until_it_is_whole_and_synchronised_it_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("os.fsync", lambda fd: seen.append(os.listdir(tmp_path)))
    leave(str(tmp_path), ENVELOPE, [b"hi\n"], "1")
    assert seen == [[".1"], ["1"]]


def test_where_it_breaks_off_nothing_is_left(tmp_path: Path) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"hi\n"
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        leave(str(tmp_path), ENVELOPE, blocks(), "1")
    assert os.listdir(tmp_path) == []
