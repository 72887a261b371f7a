"""Attachments as MIME parts."""

from __future__ import annotations

import email
import os
import re
import tracemalloc
from email import policy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.compose.attachment import Attachment
from mailagent.compose.content import BLOCK, Content

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("a.png", "image/png"),
        ("a.pdf", "application/pdf"),
        ("a.txt", "text/plain"),
        ("a.tar.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.eml", "application/octet-stream"),  # message/rfc822 may not be in base64
    ],
)
def test_the_type_is_guessed_by_the_name(tmp_path: Path, name: str, guess: str) -> None:
    (tmp_path / name).touch()
    attachment = Attachment.of_file(tmp_path / name)
    assert (attachment.name, attachment.type) == (name, guess)


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, Path(os.devnull)):
        with pytest.raises(OSError, match=r"\w"):
            Attachment.of_file(path)


@given(TEXT, st.binary(max_size=500), st.sampled_from([b"\n", b"\r\n"]))
def test_any_name_and_content_arrive(name: str, content: bytes, line_end: bytes) -> None:
    attachment = Attachment(name, "image/png", content)
    octets = b"".join(attachment.blocks(line_end))
    assert len(octets) == attachment.size(line_end)
    part = email.message_from_bytes(octets, policy=policy.SMTP)
    assert part.get_payload(decode=True) == content
    assert part.get_filename() == re.sub(r"[\0-\x1f\x7f-\x9f/]", "_", name).strip()  # email strips it
    assert part.get_content_type() == "image/png"


@pytest.mark.parametrize(("length", "later"), [(100, 99), (100, 101), (57 * 1024, 57 * 1024 + 1), (1, 0), (0, 1)])
def test_a_file_that_changes_on_the_way_breaks_off(tmp_path: Path, length: int, later: int) -> None:
    (tmp_path / "a").write_bytes(b"x" * length)
    blocks = Attachment.of_file(tmp_path / "a").blocks(b"\n")
    next(blocks)
    (tmp_path / "a").write_bytes(b"x" * later)
    with pytest.raises(OSError, match="has changed"):
        list(blocks)


def test_a_large_file_is_never_held_whole(tmp_path: Path) -> None:
    size = 20_000_000
    with open(tmp_path / "large", "wb") as file:
        file.truncate(size)
    content = Content((b"x" * (BLOCK + 1), Attachment.of_file(tmp_path / "large")), b"\r\n")
    tracemalloc.start()
    try:
        assert sum(map(len, content)) == content.size > size
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_octets_come_in_blocks() -> None:
    assert [len(block) for block in Content((b"x" * (2 * BLOCK + 1),), b"\n")] == [BLOCK, BLOCK, 1]
