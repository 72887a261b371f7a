"""What a person does to the queue, on a database of its own."""

from __future__ import annotations

from email import message_from_bytes
from random import Random

import attrs
import pytest
import sqlalchemy as sa

from mailagent.database.schema import messages, nodes, recipients
from mailagent.envelope.notify import Notify
from mailagent.envelope.queued import QueuedMessage
from mailagent.queue.inspection import entries, numbers, raw, statistics, tell
from mailagent.queue.operator import Change, Operator
from mailagent.queue.selection import Selection
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import NOW, address, deferred, message

LATER = NOW + 100.0


def operator() -> Operator:
    return Operator("mx.example.org", lambda: LATER, Random(1))


def do(database: Database, verb: str, selection: Selection | None = None) -> list[tuple[str, str]]:
    """Do it to what is chosen; what is said of each recipient."""
    with database.reading.begin() as connection:
        found = numbers(connection, selection or Selection(), LATER)
    changes: list[Change] = database.write(operator().change, verb, found)
    return [(change.recipient, change.text) for change in changes]


def states(database: Database) -> dict[str, str]:
    with database.reading.begin() as connection:
        return {entry.recipient: entry.state for entry in entries(connection, Selection(), LATER)}


def put(database: Database, store: Store, *queued: QueuedMessage) -> None:
    database.write(store.insert, queued, b"Subject: x\n\nhi\n", NOW)


def defer_all(database: Database, store: Store, due: float) -> None:
    for item in database.write(store.claim, NOW, 100):
        database.write(store.settle, item, deferred(item, due), [], NOW, 1.0)


def test_retry_makes_it_due_now_also_where_the_destination_is_held(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example"))
    defer_all(database, store, NOW + 9000)
    database.write(store.hold_destination, "a.example", NOW + 9000, "dead")
    assert database.write(store.claim, LATER, 10) == []
    assert do(database, "retry") == [("a@a.example", "due now")]
    (item,) = database.write(store.claim, LATER, 10)
    assert item.urgent


def test_what_comes_after_the_next_failure_is_not_urgent_any_more(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example"))
    do(database, "retry")
    database.write(store.hold_destination, "a.example", NOW, "dead")
    assert [item.urgent for item in database.write(store.claim, LATER, 10)] == [False]


def test_what_is_held_is_not_tried_until_it_is_released(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example"))
    assert do(database, "hold") == [("a@a.example", "held")]
    assert database.write(store.claim, LATER, 10) == []
    assert database.write(store.next_ready, NOW) is None
    assert do(database, "retry") == [("a@a.example", "held: release it first")]
    assert do(database, "release") == [("a@a.example", "released, due now")]
    assert do(database, "release") == [("a@a.example", "not held")]
    assert len(database.write(store.claim, LATER, 10)) == 1


def test_a_hold_leaves_others_at_the_destination_ready(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example"), message("m2", "b@a.example"))
    do(database, "hold", Selection(ids=["m1"]))
    assert [item.message.id for item in database.write(store.claim, LATER, 10)] == ["m2"]


def test_drop_ends_it_without_a_word_and_the_content_goes(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example"))
    assert do(database, "drop") == [("a@a.example", "dropped")]
    assert states(database) == {"a@a.example": "dropped"}
    assert do(database, "drop") == [("a@a.example", "dropped already")]
    with database.reading.begin() as connection:
        told = tell(connection, "m1")
        assert (told.header, told.entries[0].finished) == (None, LATER)
        assert connection.scalar(sa.select(sa.func.count()).select_from(messages)) == 1
        with pytest.raises(LookupError, match="no longer kept"):
            list(raw(connection, "m1"))


def test_fail_returns_a_message_in_one_report_and_tells_of_all_its_recipients(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example", "b@b.example"))
    assert {text for _, text in do(database, "fail")} == {"returned to the sender"}
    found = states(database)
    assert found.pop("ann@example.org") == "queued"
    assert set(found.values()) == {"failed"}
    (item,) = database.write(store.claim, LATER, 10)
    assert item.message.envelope.reverse_path is None
    with database.reading.begin() as connection:
        report = message_from_bytes(b"".join(raw(connection, item.message.id)))
    assert report.get_content_type() == "multipart/report"
    text = report.as_string()
    assert "Final-Recipient: rfc822; a@a.example" in text
    assert "Final-Recipient: rfc822; b@b.example" in text
    assert "Subject: x" in text


def test_fail_tells_nobody_who_does_not_want_to_hear(database: Database, store: Store) -> None:
    put(database, store, attrs.evolve(message("m1", "a@a.example"), report_to=None))
    never = {address("b@a.example"): Notify(frozenset({"NEVER"}))}
    put(database, store, message("m2", "b@a.example", notify=never))
    assert {text for _, text in do(database, "fail")} == {"failed; nobody is to be told"}
    assert set(states(database)) == {"a@a.example", "b@a.example"}


def test_what_is_held_can_be_returned(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example"))
    do(database, "hold")
    assert do(database, "fail") == [("a@a.example", "returned to the sender")]


@pytest.mark.parametrize("verb", ["retry", "hold", "fail", "drop"])
def test_what_a_living_node_delivers_now_is_left_alone(database: Database, store: Store, verb: str) -> None:
    put(database, store, message("m1", "a@a.example"))
    (item,) = database.write(store.claim, NOW, 10)
    assert do(database, verb) == [("a@a.example", "in delivery now: left alone")]
    assert database.write(store.still_leased, item)


@pytest.mark.parametrize("verb", ["retry", "hold", "fail", "drop"])
def test_the_lease_of_a_dead_node_is_taken_away(database: Database, store: Store, verb: str) -> None:
    put(database, store, message("m1", "a@a.example"))
    (item,) = database.write(store.claim, NOW, 10)
    database.write(lambda connection: connection.execute(sa.update(nodes).values(heartbeat=0.0)))
    ((_, text),) = do(database, verb)
    assert "left alone" not in text
    assert not database.write(store.still_leased, item)


def test_what_cannot_be_read_can_be_tried_again_or_dropped_but_not_returned(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example"))
    database.write(lambda connection: connection.execute(sa.update(recipients).values(notify="nonsense")))
    assert do(database, "fail") == [("a@a.example", "cannot be read (column notify): only drop is possible")]
    assert database.write(store.claim, LATER, 10) == []
    assert states(database) == {"a@a.example": "quarantined"}
    assert do(database, "fail") == [("a@a.example", "cannot be read: only retry and drop are possible")]
    assert do(database, "retry") == [("a@a.example", "due now")]
    assert do(database, "drop") == [("a@a.example", "dropped")]


def test_statistics_count_by_state_destination_and_age(database: Database, store: Store) -> None:
    put(database, store, message("m1", "a@a.example", "b@b.example"), message("m2", "c@a.example"))
    do(database, "drop", Selection(recipient="b@b.example"))
    database.write(store.hold_destination, "a.example", NOW + 9000, "dead")
    with database.reading.begin() as connection:
        found = statistics(connection, NOW + 5000)
    assert found.states == {"queued": 2, "dropped": 1}
    assert found.destinations == {"a.example": 2}
    assert {least: count for least, count in found.ages.items() if count} == {3600.0: 2}
    assert found.oldest == NOW
    assert [(held.name, held.until, held.reason) for held in found.held] == [("a.example", NOW + 9000, "dead")]


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "fail", "drop"])
def test_what_is_on_its_way_to_another_database_is_left_alone(database: Database, store: Store, verb: str) -> None:
    put(database, store, message("m1", "a@a.example"))
    database.execute("UPDATE recipients SET state = 'moving:queued', lease_node = 'abc /srv/new.db'")
    [(_, text)] = do(database, verb)
    assert text == "on its way to /srv/new.db: finish that move, or mailagent queue move --abandon"
    assert database.rows("SELECT state, lease_node FROM recipients") == [("moving:queued", "abc /srv/new.db")]
