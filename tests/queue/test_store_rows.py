"""How values look in rows, and back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.queue.store_rows import path, path_text, storable

#: What UTF-8 can carry.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
addresses = st.builds(Address, TEXT, TEXT.map(lambda text: text.replace("@", "")))


@given(st.none() | addresses)
@example(Address("@", ""))
def test_an_address_comes_back_as_it_was(address: Address | None) -> None:
    assert path(path_text(address)) == address


@given(st.text())
def test_what_is_not_an_address_is_told_as_such_or_is_that_very_address(text: str) -> None:
    try:
        address = path(text)
    except ValueError:
        return
    assert path_text(address) == text


@pytest.mark.parametrize("text", ["a b@x", '"a@x', 'a"@x', '"a"@x', "a@b@c"])
def test_a_spelling_that_is_not_ours_is_not_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        path(text)


@given(st.text())
def test_any_text_of_a_peer_can_be_stored(text: str) -> None:
    kept = storable(text)
    assert "\0" not in kept
    assert len(kept.encode("utf-8")) <= 8000
