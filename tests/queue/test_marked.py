"""What is on its way to another database, as it is written and as it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.database.schema import recipients
from mailagent.queue.inspection import entries, statistics
from mailagent.queue.marked import Target, targets, token, unmark
from mailagent.queue.selection import Selection
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import NOW, message

MARK = "UPDATE recipients SET state = 'moving:' || state, lease_node = ? WHERE message_id = ?"


@given(st.text(), st.text("0123456789abcdef", min_size=1))
def test_a_target_is_read_as_it_was_written(name: str, token: str) -> None:
    assert Target.read(str(Target(name, token))) == Target(name, token)


@pytest.mark.parametrize(
    "name", ["/srv/queue.db", "/srv/my queue.db", "postgresql+psycopg://mail@db/mail", "abc", "cafe.db x", ""]
)
def test_a_mark_of_before_databases_had_tokens_has_the_name_alone(name: str) -> None:
    assert Target.read(name) == Target(name)
    assert str(Target(name)) == name


@pytest.mark.parametrize(
    ("mark", "meant"),
    [
        (Target("there", "abc"), True),
        (Target("by another name", "abc"), True),
        (Target("there", "def"), False),
        (Target("there"), True),
        (Target("elsewhere"), False),
    ],
)
def test_a_target_is_meant_by_its_token_or_where_there_is_none_by_its_name(mark: Target, meant: bool) -> None:
    assert mark.means(Target("there", "abc")) is meant


@pytest.fixture
def marked(database: Database, store: Store) -> Database:
    """m1, of two recipients, goes one way; m2 another, in the manner of before, and m3 none."""
    for name in ("m1", "m2", "m3"):
        to = ["a@a.example", "b@b.example"] if name == "m1" else ["c@c.example"]
        database.write(store.insert, [message(name, *to)], b"hi\n", NOW)
    database.execute(MARK, "abc there", "m1")
    database.execute(MARK, "/srv/elsewhere.db", "m2")
    return database


def test_where_it_goes_is_listed_and_counted(marked: Database) -> None:
    with marked.reading.begin() as connection:
        assert targets(connection) == {Target("there", "abc"): 2, Target("/srv/elsewhere.db"): 1}
        found = statistics(connection, NOW)
        assert found.moving == {"there": 2, "/srv/elsewhere.db": 1}
        assert found.states == {"moving": 3, "queued": 1}
        assert found.destinations == {"a.example": 1, "b.example": 1, "c.example": 2}
        chosen = list(entries(connection, Selection(states=["moving"]), NOW))
    assert [(entry.id, entry.state, entry.due, entry.target) for entry in chosen] == [
        ("m1", "moving", None, "there"),
        ("m1", "moving", None, "there"),
        ("m2", "moving", None, "/srv/elsewhere.db"),
    ]


def test_what_is_unmarked_waits_and_is_found_again(marked: Database, store: Store) -> None:
    marked.execute("DELETE FROM destinations")  # as swept away meanwhile
    assert marked.write(unmark, recipients.c.destination != "b.example") == 2
    assert marked.rows("SELECT address, state, lease_node FROM recipients ORDER BY id")[:2] == [
        ("a@a.example", "queued", None),
        ("b@b.example", "moving:queued", "abc there"),
    ]
    assert sorted(item.destination for item in marked.write(store.claim, NOW, 9)) == [
        "a.example",
        "c.example",
        "c.example",
    ]


def test_each_database_has_a_token_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Database(tmp_path_factory.mktemp("one")) as one, Database(tmp_path_factory.mktemp("other")) as other:
        assert token(one.engine) == token(one.reading) != token(other.engine)
