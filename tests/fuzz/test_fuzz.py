"""Every input that fuzzing kept, and some random ones, through every target."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
WORDS = [
    b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<user1@hostmeister.de>\r\n", b"DATA\r\n", b".\r\n", b"\r\n.\r\n",
    b"S: x\r\n\r\n", b"\n", b"\r", b"QUIT\r\n", b"\xff\x00", b"x" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_kept_holds(target: str) -> None:
    files = sorted((CORPUS / target).iterdir())
    assert files
    for file in files:
        TARGETS[target](file.read_bytes())


@given(st.lists(st.sampled_from(WORDS) | st.binary(max_size=5), max_size=20).map(b"".join))
def test_random_conversations_hold(octets: bytes) -> None:
    for target in TARGETS.values():
        target(octets)
