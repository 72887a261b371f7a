"""Addresses as people write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.compose.correspondent import BadAddress, Correspondent, parse_correspondent, parse_correspondents
from mailagent.envelope.address import Address

ANN, BOB = Address("ann", "example.org"), Address("bob", "example.org")


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.org;bob@example.org",
        "ann@example.org,bob@example.org",
        " ann@example.org ; bob@example.org ;",
        ";,ann@example.org,,bob@example.org",
        "<ann@example.org>, <bob@example.org>",
    ],
)
def test_a_semicolon_or_a_comma_separates(text: str) -> None:
    assert [who.address for who in parse_correspondents(text)] == [ANN, BOB]


@pytest.mark.parametrize("text", ["", " ", ";", " ; , "])
def test_an_empty_list_has_nobody(text: str) -> None:
    assert parse_correspondents(text) == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ann@example.org", ""),
        ("Ann <ann@example.org>", "Ann"),
        ("Ann   Example<ann@example.org>", "Ann Example"),
        ('"Example, Ann; or so" < ann@example.org >', "Example, Ann; or so"),
        (r'"Ann \"A\" Example" <ann@example.org>', 'Ann "A" Example'),
        ("J\xf6rg <ann@example.org>", "J\xf6rg"),
    ],
)
def test_a_name_may_stand_before_the_address(text: str, name: str) -> None:
    assert parse_correspondents(text) == (Correspondent(ANN, name),)


def test_a_quoted_local_part_may_hold_what_separates() -> None:
    assert parse_correspondents('"a;b, c"@example.org')[0].address == Address("a;b, c", "example.org")


def test_a_domain_beyond_ascii_is_taken_in_a_labels() -> None:
    assert parse_correspondent("ann@b\xfccher.example").address == Address("ann", "xn--bcher-kva.example")


def test_a_local_part_beyond_ascii_stays_as_it_is() -> None:
    assert parse_correspondent("j\xf6rg@example.org").address == Address("j\xf6rg", "example.org")


@pytest.mark.parametrize(
    "bad",
    [
        "user1",
        "@example.org",
        "ann@",
        "ann@@example.org",
        "a b@example.org",
        "ann@example..org",
        "<ann@example.org",
        '"',
        "Ann <ann@example.org> Example",
        "j\x85rg@example.org",
        "j\u2028rg@example.org",
        "ann@\N{SNOWMAN}\u200d.example",
        "ann\0@example.org",
    ],
)
def test_the_error_names_the_one_that_is_bad(bad: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_correspondents(f"ann@example.org; {bad}; bob@example.org")
    assert repr(bad) in str(caught.value)


@given(st.text() | st.text(alphabet='ab@.,;<>"\\ '))
def test_any_text_gives_correspondents_or_bad_address(text: str) -> None:
    with suppress(BadAddress):
        for who in parse_correspondents(text):
            assert who.address.domain.isascii()
            assert str(who.address).isprintable()
            assert "\n" not in str(who)
