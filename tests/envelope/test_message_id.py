"""The one identifier by which a message is followed."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.message_id import message_id

moments = st.integers(0, 2**55 - 1)
entropies = st.integers(0, 2**30 - 1)


@given(moments, st.integers(0))
def test_an_identifier_is_17_letters_and_digits_safe_in_file_names_headers_and_logs(moment: int, entropy: int) -> None:
    assert re.fullmatch("[0-9a-z]{17}", message_id(moment, entropy))


@given(moments, moments, entropies, entropies)
def test_identifiers_sort_by_time(one: int, other: int, entropy: int, other_entropy: int) -> None:
    if one != other:
        assert (message_id(one, entropy) < message_id(other, other_entropy)) == (one < other)


@given(moments, entropies, entropies)
def test_identifiers_of_one_moment_differ_by_their_entropy(moment: int, one: int, other: int) -> None:
    assert (message_id(moment, one) == message_id(moment, other)) == (one == other)
