"""A message from standard input."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.sendmail.message import Message, UnfitMessage
from mailagent.sendmail.message import read_message as read_any_message

MAX_HEADER = 100_000
LARGEST = 1_000_000


def read_message(stream: BytesIO, *, dot_ends: bool) -> Message:
    return read_any_message(stream, dot_ends=dot_ends, largest=LARGEST, largest_header=MAX_HEADER)


def whole(octets: bytes, *, dot_ends: bool = False) -> bytes:
    return b"".join(read_message(BytesIO(octets), dot_ends=dot_ends).blocks())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_line_ends_become_lf(end: bytes) -> None:
    assert whole(end.join([b"To: ann", b"", b"hi", b"", b"there"])) == b"To: ann\n\nhi\n\nthere\n"


def test_a_lone_dot_ends_it_unless_it_is_to_be_ignored() -> None:
    octets = b"A: b\r\n\r\nhi\r\n.\r\nmore\r\n"
    assert whole(octets, dot_ends=True) == b"A: b\n\nhi\n"
    assert whole(octets) == b"A: b\n\nhi\n.\nmore\n"
    assert whole(b"A: b\n\nhi\n.x\n..\n", dot_ends=True) == b"A: b\n\nhi\n.x\n..\n"


def test_a_dot_that_opens_a_piece_of_a_long_line_ends_nothing() -> None:
    line = b"x" * 65536 + b".\n"
    assert whole(b"A: b\n\n" + line, dot_ends=True) == b"A: b\n\n" + line


def test_a_bare_text_has_no_header() -> None:
    message = read_message(BytesIO(b"hello\nworld\n"), dot_ends=False)
    assert (message.header.fields, message.size) == ((), 12)
    assert whole(b" hello\n") == b"\n hello\n"


def test_an_mbox_line_is_left_out() -> None:
    assert whole(b"From ann Mon Nov  2\nA: b\n\nhi\n") == b"A: b\n\nhi\n"


def test_a_text_that_follows_the_header_at_once_is_kept() -> None:
    assert whole(b"A: b\nhello\n") == b"A: b\n\nhello\n"


def test_octets_above_127_are_noticed() -> None:
    assert read_message(BytesIO("A: b\n\nJörg\n".encode()), dot_ends=False).eight_bit
    assert not read_message(BytesIO("A: ö\n\nx\n".encode()), dot_ends=False).eight_bit


def test_nothing_is_no_message() -> None:
    with pytest.raises(UnfitMessage):
        read_message(BytesIO(), dot_ends=True)


def test_a_header_without_end_is_refused() -> None:
    with pytest.raises(UnfitMessage, match="larger"):
        read_message(BytesIO(b"A: b\n" + b" x" * 30 + b"\n" + b" y\n" * MAX_HEADER), dot_ends=False)
    with pytest.raises(UnfitMessage, match="larger"):
        read_message(BytesIO(b"A: " + b"x" * (MAX_HEADER + 1) + b"\n\n"), dot_ends=False)


@given(st.lists(st.binary(max_size=20).filter(lambda line: not set(line) & {10, 13}), max_size=8), st.booleans())
def test_what_is_read_again_is_the_same(lines: list[bytes], dot_ends: bool) -> None:
    octets = b"A: b\n\n" + b"".join(line + b"\n" for line in lines if line != b".")
    assert whole(octets, dot_ends=dot_ends) == octets


def test_a_message_that_no_server_would_take_is_refused() -> None:
    with pytest.raises(UnfitMessage, match="larger than 1000000 octets"):
        read_message(BytesIO(b"A: b\n\n" + b"x" * LARGEST), dot_ends=False)
