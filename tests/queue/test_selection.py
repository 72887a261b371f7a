"""Which recipients are meant."""

from __future__ import annotations

import attrs
import pytest

from mailagent.queue.inspection import entries, numbers
from mailagent.queue.items import HELD, UNFINISHED
from mailagent.queue.selection import ACTIVE, Selection
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import NOW, message


@pytest.fixture
def filled(database: Database, store: Store) -> Database:
    """m1 to two places; m2, from nobody, to one, an hour later and leased."""
    database.write(store.insert, [message("m1", "a@a.example", "B@b.example")], b"hi\n", NOW - 3600)
    null = message("m2", "b@bücher.example")
    null = attrs.evolve(null, envelope=attrs.evolve(null.envelope, reverse_path=None))
    database.write(store.insert, [null], b"hi\n", NOW)
    database.write(store.claim, NOW, 1, busy=["a.example", "b.example"])
    return database


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["a@a.example", "B@b.example", "b@bücher.example"]),
        (Selection(ids=["m1", "none"]), ["a@a.example", "B@b.example"]),
        (Selection(sender=""), ["b@bücher.example"]),
        (Selection(sender="ANN@example.org"), ["a@a.example", "B@b.example"]),
        (Selection(sender="@example.org"), ["a@a.example", "B@b.example"]),
        (Selection(sender="@xample.org"), []),
        (Selection(recipient="b@B.example"), ["B@b.example"]),
        (Selection(recipient="%"), []),
        (Selection(domain="xn--bcher-kva.example"), ["b@bücher.example"]),
        (Selection(states=[ACTIVE]), ["b@bücher.example"]),
        (Selection(states=[HELD]), []),
        (Selection(states=[HELD, ACTIVE], age=60.0), []),
        (Selection(age=3600.0), ["a@a.example", "B@b.example"]),
        (Selection(age=3601.0), []),
        (Selection(ids=["m1"], recipient="a@a.example"), ["a@a.example"]),
    ],
)
def test_conditions_all_hold(filled: Database, selection: Selection, expected: list[str]) -> None:
    with filled.reading.begin() as connection:
        assert [entry.recipient for entry in entries(connection, selection, NOW)] == expected
        assert len(numbers(connection, selection, NOW)) == len(expected)


def test_many_ids_are_asked_for_in_parts(filled: Database) -> None:
    ids = [*(f"x{number}" for number in range(1000)), "m1"]
    with filled.reading.begin() as connection:
        assert len(list(entries(connection, Selection(ids=ids), NOW))) == 2


def test_a_choice_of_states_or_messages_stands() -> None:
    assert Selection(states=[HELD]).among(UNFINISHED) == Selection(states=[HELD])
    assert Selection(ids=["m1"]).among(UNFINISHED) == Selection(ids=["m1"])
    assert Selection(sender="").among([HELD]) == Selection(sender="", states=(HELD,))


def test_only_no_condition_at_all_means_everything() -> None:
    assert Selection().is_open
    assert not Selection(sender="").is_open
