"""What goes back of a message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailagent.queue.returned import MOST, Returned, read_returned
from tests.deferreds import result


def read(pieces: Sequence[bytes], whole: bool) -> tuple[Returned, int]:
    """What is returned, and how many pieces were read for it."""
    count = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal count
        for piece in pieces:
            count += 1
            yield piece

    return result(Deferred.fromCoroutine(read_returned(content(), whole))), count


@pytest.mark.parametrize(
    ("pieces", "header"),
    [
        ([b"A: 1\n", b"B: 2\n\nbody\n\nmore"], b"A: 1\nB: 2\n"),
        ([b"A: 1\n", b"\nbody"], b"A: 1\n"),
        ([b"", b"\nbody"], b""),
        ([b"A: 1\nB: 2"], b"A: 1\nB: 2"),
        ([b""], b""),
    ],
)
def test_the_header_ends_at_the_first_empty_line(pieces: list[bytes], header: bytes) -> None:
    assert read(pieces, False)[0] == Returned(header)


def test_a_small_message_goes_back_whole_where_that_was_asked_for() -> None:
    message = b"A: 1\n\n" + b"x" * (MOST - 6)
    assert read([message], True)[0] == Returned(message, True)


def test_of_a_large_message_the_header_alone_goes_back() -> None:
    assert read([b"A: 1\n\n" + b"x" * MOST], True)[0] == Returned(b"A: 1\n")


def test_of_a_long_header_whole_lines_go_back() -> None:
    returned, _ = read([b"A: 1\n" * MOST], False)
    assert MOST - 5 <= len(returned.octets) <= MOST
    assert returned.octets.endswith(b"A: 1\n")


@pytest.mark.parametrize("whole", [True, False])
def test_no_more_is_read_than_needed(whole: bool) -> None:
    assert read([b"A: 1\n\n", *[b"x" * MOST] * 10], whole)[1] <= 2


@given(st.binary(max_size=200), st.integers(1, 20), st.booleans())
def test_the_borders_of_pieces_do_not_matter(content: bytes, size: int, whole: bool) -> None:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    assert read(pieces, whole)[0] == read([content], whole)[0]
