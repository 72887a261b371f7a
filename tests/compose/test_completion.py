"""Completing recipients."""

from __future__ import annotations

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from mailagent.compose.completion import RecipientCompleter, written
from mailagent.compose.correspondent import Correspondent, parse_correspondent, parse_correspondents
from mailagent.envelope.address import Address

EARLIER = parse_correspondents('Ann Example <ann@example.org>; bob@example.org; "Bell, Eve" <eve@example.com>')


def completed(typed: str) -> list[str]:
    completions = RecipientCompleter(EARLIER).get_completions(Document(typed), CompleteEvent())
    return [typed[: len(typed) + each.start_position] + each.text for each in completions]


@pytest.mark.parametrize(
    ("typed", "offers"),
    [
        ("an", ["Ann Example <ann@example.org>"]),
        ("EXAM", ["Ann Example <ann@example.org>"]),
        ("b", ["bob@example.org", "eve@example.com"]),
        ("bob@example.org; e", ["bob@example.org; Ann Example <ann@example.org>", "bob@example.org; eve@example.com"]),
        ("x,bo", ["x,bob@example.org"]),
        ("nobody", []),
    ],
)
def test_the_last_of_the_list_is_completed_by_address_or_name(typed: str, offers: list[str]) -> None:
    assert completed(typed) == offers


def test_nothing_typed_offers_everybody() -> None:
    assert len(completed("")) == len(EARLIER)


@pytest.mark.parametrize("name", ["", "Ann", "\x1b[2J", "a;b", 'a"b', "<x>"])
def test_what_is_offered_can_be_typed(name: str) -> None:
    who = Correspondent(Address("ann", "example.org"), name)
    assert parse_correspondent(written(who)).address == who.address
    assert written(who).isprintable()
