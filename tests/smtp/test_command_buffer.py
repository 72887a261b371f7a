"""Lines cut out of the stream, in bounded memory."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.smtp.command_buffer import MAX_LINE, MAX_RESPONSE_LINE, MAX_SKIPPED, CommandBuffer, LineFault


def take(buffer: CommandBuffer) -> list[bytes | LineFault]:
    taken: list[bytes | LineFault] = []
    while (line := buffer.take_line()) is not None:
        taken.append(line)
    return taken


def lines_of(*segments: bytes) -> list[bytes | LineFault]:
    buffer = CommandBuffer()
    taken: list[bytes | LineFault] = []
    for segment in segments:
        buffer.feed(segment)
        taken += take(buffer)
    return taken


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"NOOP", b"A B"]), max_size=30).map(b"".join),
    st.lists(st.integers(1, 40), max_size=10),
)
def test_segments_do_not_matter(stream: bytes, borders: list[int]) -> None:
    cuts = [0, *sorted(borders), len(stream)]
    segments = [stream[start:stop] for start, stop in itertools.pairwise(cuts)]
    assert lines_of(*segments) == lines_of(stream)


@given(st.lists(st.text("ABC xyz:<>@", max_size=20).map(str.encode), max_size=10))
def test_lines_that_end_in_crlf_come_out_whole(lines: list[bytes]) -> None:
    assert lines_of(b"".join(line + b"\r\n" for line in lines)) == lines


def test_a_bare_lf_is_told_at_once_and_nothing_is_a_command_until_a_crlf() -> None:
    assert lines_of(b"MAIL FROM:<a@b>\nRCPT TO:<c@d>\r\nNOOP\r\n") == [LineFault.BARE_LF, b"NOOP"]


def test_every_bare_lf_is_told() -> None:
    assert lines_of(b"EHLO x\n", b"EHLO x\n", b"QUIT\n") == [LineFault.BARE_LF] * 3


def test_a_bare_cr_in_a_line_is_told_at_its_end() -> None:
    assert lines_of(b"NOOP\rQUIT", b"\r\nNOOP\r\n") == [LineFault.BARE_CR, b"NOOP"]


def test_the_longest_line_passes_and_one_octet_more_does_not() -> None:
    longest = b"x" * (MAX_LINE - 2)
    assert lines_of(longest + b"\r\n") == [longest]
    assert lines_of(longest + b"x\r\nNOOP\r\n") == [LineFault.TOO_LONG, b"NOOP"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_line_may_be_longer_where_more_is_awaited(whole: bool) -> None:
    longest = b"x" * (MAX_RESPONSE_LINE - 2)
    buffer = CommandBuffer()
    for octets in (longest + b"\r\n",) if whole else (longest, b"\r", b"\n"):
        assert buffer.take_line(MAX_RESPONSE_LINE) is None
        buffer.feed(octets)
    assert buffer.take_line(MAX_RESPONSE_LINE) == longest
    buffer.feed(longest + b"x\r\n" if whole else longest + b"xyz")
    assert buffer.take_line(MAX_RESPONSE_LINE) is LineFault.TOO_LONG


def test_stock_defect_unterminated_line_is_buffered_without_limit() -> None:
    buffer = CommandBuffer()
    faults = []
    for _ in range(200):
        buffer.feed(b"x" * 1000)
        faults += take(buffer)
        assert len(buffer) <= MAX_LINE + 1000
    assert faults[0] is LineFault.TOO_LONG
    assert LineFault.FLOOD in faults


def test_a_line_that_is_too_long_but_ends_is_no_flood() -> None:
    segments = [b"x" * 1000] * (MAX_SKIPPED // 1000 - 1)
    assert lines_of(*segments, b"\r\nNOOP\r\n") == [LineFault.TOO_LONG, b"NOOP"]


def test_the_courtesy_is_for_a_first_line_with_a_bare_lf() -> None:
    buffer = CommandBuffer(courtesy=True)
    buffer.feed(b"EHLO x\nNO")
    assert take(buffer) == [b"EHLO x"]
    buffer.feed(b"OP\n")
    assert take(buffer) == [b"NOOP"]


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"NOOP"]), max_size=20).map(b"".join))
def test_a_session_begun_with_crlf_never_gets_there(stream: bytes) -> None:
    stream = b"EHLO x\r\n" + stream
    kind, strict = CommandBuffer(courtesy=True), CommandBuffer()
    kind.feed(stream)
    strict.feed(stream)
    assert take(kind) == take(strict)


def test_a_first_line_that_is_too_long_gets_no_courtesy() -> None:
    buffer = CommandBuffer(courtesy=True)
    buffer.feed(b"x" * (MAX_LINE + 1))
    assert take(buffer) == [LineFault.TOO_LONG]
    buffer.feed(b"\r\nNOOP\n")
    assert take(buffer) == [LineFault.BARE_LF]


def test_what_is_put_back_is_taken_first() -> None:
    buffer = CommandBuffer()
    buffer.feed(b"content")
    assert buffer.take_all() == b"content"
    buffer.feed(b"OP\r\n")
    buffer.put_back(b"NO")
    assert take(buffer) == [b"NOOP"]
