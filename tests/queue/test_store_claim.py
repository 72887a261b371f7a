"""Taking work in hand: how much, in which order, at what cost; and rows that cannot be read."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from mailagent.log import RECIPIENT_QUARANTINED
from mailagent.queue.lanes import Allowance
from mailagent.queue.store import Store
from mailagent.queue.store_claim import MOST_RECIPIENTS, Claimer
from tests.database.kinds import only_postgresql, only_sqlite
from tests.database.support import Database
from tests.maildir.support import Events
from tests.queue.support import NOW, STORED, all_as, deferred, message, names

DAY = 86400.0
#: What a plan says of a step whose cost grows with the tables.
GROWS = "SCAN (messages|recipients|attempts|chunks|staged|destinations)|USE TEMP B-TREE"


def fill(database: Database, store: Store, number: int, destination: str, now: float = NOW, prefix: str = "m") -> None:
    """Queue so many messages for one recipient each."""
    messages = [message(f"{prefix}{index}", f"u{index}@{destination}") for index in range(number)]
    database.write(store.insert, messages, b"body", now)


def test_the_destination_that_has_waited_longest_comes_first(database: Database, store: Store) -> None:
    fill(database, store, 1, "late.example", NOW + 2, "l")
    fill(database, store, 1, "early.example", NOW + 1, "e")
    assert [item.destination for item in database.write(store.claim, NOW + 9, 1)] == ["early.example"]


def test_what_has_just_come_does_not_wait_for_all_that_came_before(database: Database, store: Store) -> None:
    for index in range(9):
        fill(database, store, 1, f"dead{index}.example", NOW + index, f"d{index}")
    fill(database, store, 1, "living.example", NOW + 10, "l")
    items = [item for _ in range(2) for item in database.write(store.claim, NOW + 20, 1)]
    assert [item.destination for item in items] == ["dead0.example", "living.example"]
    items = database.write(store.claim, NOW + 20, 2)
    assert [item.destination for item in items] == ["dead1.example", "dead8.example"]


def test_a_destination_gets_no_more_than_its_window(database: Database, store: Store) -> None:
    fill(database, store, 9, "x.example", prefix="x")
    fill(database, store, 9, "y.example", prefix="y")
    items = database.write(store.claim, NOW, 100, {"x.example": 5})
    assert sorted(item.destination for item in items) == ["x.example"] * 5 + ["y.example"] * 2


def test_there_are_no_more_messages_than_there_is_room(database: Database, store: Store) -> None:
    for name in "abcde":
        fill(database, store, 2, f"{name}.example", prefix=name)
    assert len(database.write(store.claim, NOW, 5)) == 5
    assert database.write(store.claim, NOW, 0) == []


def test_busy_destinations_are_passed_over(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example", prefix="x")
    fill(database, store, 1, "y.example", NOW + 1, prefix="y")
    assert database.read(store.next_ready, NOW, ["x.example"]) == NOW + 1
    assert [item.destination for item in database.write(store.claim, NOW + 1, 9, busy=["x.example"])] == ["y.example"]


def test_what_is_left_is_given_out_next(database: Database, store: Store) -> None:
    fill(database, store, 5, "x.example")
    seen = []
    while items := database.write(store.claim, NOW, 10):
        seen += [item.message.id for item in items]
    assert sorted(seen) == [f"m{index}" for index in range(5)]


def test_an_item_has_at_most_so_many_recipients(database: Database, store: Store) -> None:
    many = message("m1", *(f"u{index}@x.example" for index in range(2 * MOST_RECIPIENTS + 1)))
    database.write(store.insert, [many], b"", NOW)
    items = database.write(store.claim, NOW, 10)
    assert [len(item.recipients) for item in items] == [MOST_RECIPIENTS, MOST_RECIPIENTS, 1]
    assert len({item.token for item in items}) == 3


def test_a_held_destination_gives_nothing_until_then(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example")
    database.write(store.hold_destination, "x.example", NOW + 60, "connection refused")
    assert database.write(store.claim, NOW + 59, 10) == []
    assert database.read(store.next_ready, NOW) == NOW + 60
    assert len(database.write(store.claim, NOW + 60, 10)) == 1


def test_a_hold_covers_what_comes_later(database: Database, store: Store) -> None:
    database.write(store.hold_destination, "x.example", NOW + 60, "connection refused")
    fill(database, store, 1, "x.example")
    assert database.read(store.next_ready, NOW) == NOW + 60


def test_a_hold_can_be_ended(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example")
    database.write(store.hold_destination, "x.example", NOW + 60, "connection refused")
    database.write(store.hold_destination, "x.example", 0, "")
    assert len(database.write(store.claim, NOW, 10)) == 1


def test_what_has_waited_too_long_is_found_though_held_and_not_due(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example", NOW, "old")
    [item] = database.write(store.claim, NOW, 10)
    database.write(store.settle, item, deferred(item, NOW + 9 * DAY), [], NOW, 0.0)
    database.write(store.hold_destination, "x.example", NOW + 9 * DAY, "down")
    fill(database, store, 1, "y.example", NOW + 5 * DAY, "new")
    assert database.write(store.overdue, NOW + 3600, 5 * DAY, 4 * 3600.0, 10) == []
    found = database.write(store.overdue, NOW + 5 * DAY, 5 * DAY, 4 * 3600.0, 10)
    assert names(found) == [("old0", ["u0@x.example"])]
    assert database.read(store.still_leased, found[0])


def test_a_delay_that_was_told_is_not_told_again(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example")
    [item] = database.write(store.overdue, NOW + 4 * 3600, 5 * DAY, 4 * 3600.0, 10)
    [told] = all_as(item, STORED, "queued")
    settlement = type(told)(told.recipient, None, "queued", delay_told=True)
    database.write(store.settle, item, [settlement], [], NOW + 4 * 3600, 0.0)
    assert database.write(store.overdue, NOW + 4 * DAY, 5 * DAY, 4 * 3600.0, 10) == []
    assert database.rows("SELECT attempts, due FROM recipients") == [(0, NOW)]
    assert database.rows("SELECT count(*) FROM attempts") == [0]
    assert len(database.write(store.overdue, NOW + 5 * DAY, 5 * DAY, 4 * 3600.0, 10)) == 1


def test_a_message_is_given_up_even_before_its_delay_would_be_told(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example")
    assert len(database.write(store.overdue, NOW + 3600, 3600.0, 4 * 3600.0, 10)) == 1


def test_overdue_recipients_come_in_bounded_numbers(database: Database, store: Store) -> None:
    fill(database, store, 7, "x.example")
    assert [len(database.write(store.overdue, NOW + 9 * DAY, DAY, DAY, 5)) for _ in range(3)] == [5, 2, 0]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE recipients SET address = '' WHERE message_id = 'm1'",
        "UPDATE recipients SET address = 'a b@x.example' WHERE message_id = 'm1'",
        "UPDATE recipients SET notify = 'SOMETIMES' WHERE message_id = 'm1'",
        "UPDATE messages SET reverse_path = 'a b@x' WHERE id = 'm1'",
        "UPDATE messages SET report_to = '' WHERE id = 'm1'",
    ],
)
def test_a_row_that_cannot_be_read_is_set_aside_and_stops_nothing(database: Database, harm: str) -> None:
    events = Events()
    store = Store("here")
    store._claimer = Claimer("here", events.log)
    fill(database, store, 3, "x.example")
    database.execute(harm)
    seen = [item.message.id for _ in range(4) for item in database.write(store.claim, NOW, 10)]
    assert sorted(seen) == ["m0", "m2"]
    assert database.rows("SELECT message_id FROM recipients WHERE state = 'quarantined'") == ["m1"]
    assert [event["event"] for event in events] == [RECIPIENT_QUARANTINED.name]
    assert database.read(store.read_piece, "m1", 0) == b"body"
    assert database.read(store.next_ready, NOW) is None


@only_sqlite
@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE recipients SET address = CAST(x'ff4078' AS TEXT) WHERE message_id = 'm1'",
        "UPDATE recipients SET attempts = 'many' WHERE message_id = 'm1'",
        "UPDATE recipients SET reply_code = x'00' WHERE message_id = 'm1'",
        "UPDATE messages SET created = 'yesterday' WHERE id = 'm1'",
        "UPDATE messages SET header = 'text' WHERE id = 'm1'",
        "UPDATE messages SET size = x'' WHERE id = 'm1'",
        "UPDATE messages SET returned = CAST(x'80' AS TEXT) WHERE id = 'm1'",
    ],
)
def test_a_value_of_another_type_is_set_aside_and_stops_nothing(database: Database, harm: str) -> None:
    """SQLite stores any type in any column."""
    test_a_row_that_cannot_be_read_is_set_aside_and_stops_nothing(database, harm)


def damage(database: Database, harm: str) -> None:
    """Do what no client of the database is let do."""
    file = database.engine.url.database
    assert file is not None
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(harm)


@only_sqlite
@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE recipients SET message_id = CAST(x'ff' AS TEXT) WHERE message_id = 'm1'",
        "UPDATE recipients SET message_id = x'ff' WHERE message_id = 'm1'",
        "UPDATE recipients SET destination = CAST(x'ff' AS TEXT) WHERE message_id = 'm1'",
        "UPDATE recipients SET destination = x'ff' WHERE message_id = 'm1'",
    ],
)
def test_what_cannot_even_be_looked_for_is_set_aside_and_stops_nothing(
    database: Database, store: Store, harm: str
) -> None:
    fill(database, store, 3, "x.example")
    damage(database, harm)
    seen = [item.message.id for item in database.write(store.claim, NOW, 10)]
    seen += [item.message.id for item in database.write(store.overdue, NOW + 9 * DAY, DAY, DAY, 10)]
    assert sorted(seen) == ["m0", "m2"]
    assert database.rows("SELECT count(*) FROM recipients WHERE state = 'quarantined'") == [1]
    database.write(store.start)
    assert len(database.write(store.claim, NOW, 10)) == 2


@only_sqlite
@pytest.mark.parametrize("name", ["CAST(x'ff' AS TEXT)", "x'ff'"])
def test_a_destination_that_cannot_be_read_is_removed_and_stops_nothing(
    database: Database, store: Store, name: str
) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    database.execute(f"INSERT INTO destinations (name, ready, held_until, reason) VALUES ({name}, 0, 0, '')")
    assert names(database.write(store.claim, NOW, 10)) == [("m1", ["a@x.example"])]
    assert database.rows("SELECT name FROM destinations") == ["x.example"]


def test_a_recipient_set_aside_leaves_the_others_of_its_message(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example", "b@x.example")], b"", NOW)
    database.execute("UPDATE recipients SET notify = '?' WHERE address = 'a@x.example'")
    assert names(database.write(store.claim, NOW, 10)) == [("m1", ["b@x.example"])]


def cycle(database: Database, store: Store) -> list[tuple[str, Any]]:
    """Put in, claim, defer, claim, settle, hold, look for what is overdue: the statements."""
    with database.statements() as statements:
        database.write(store.insert, [message("new", "a@x.example")], b"", NOW)
        item, *others = database.write(store.claim, NOW, 4)
        database.write(store.settle, item, deferred(item, NOW + 60), [], NOW, 0.0)
        for other in others:
            database.write(store.settle, other, all_as(other, STORED), [], NOW, 0.0)
        database.write(store.hold_destination, "x.example", NOW + 60, "")
        database.write(store.overdue, NOW + 9 * DAY, DAY, DAY, 2)
        database.write(store.adopt)
        database.write(store.start)
        database.write(store.beat)
        database.write(store.next_ready, NOW)
        database.write(store.sweep, NOW, DAY, 10)
    return statements


@only_sqlite
def test_no_statement_reads_a_table_from_end_to_end(database: Database, store: Store) -> None:
    """A plan that says SCAN, or sorts, would cost more, the more there is in the queue."""
    statements = [each for each in cycle(database, store) if each[0].split()[0] in ("SELECT", "UPDATE", "DELETE")]
    assert len(statements) > 20
    for statement, parameters in statements:
        with database.reading.begin() as connection:
            plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        costly = [line for line in plan if re.match(GROWS, line)]
        # In the order of its index and with a LIMIT, it ends soon.
        ordered = [line for line in costly if "USING INDEX destinations_ready" in line and "LIMIT" in statement]
        assert costly == ordered, f"{statement}: {plan}"


def test_as_many_statements_are_run_for_a_long_queue_as_for_a_short_one(database: Database, store: Store) -> None:
    fill(database, store, 10, "x.example", NOW - 1, "a")
    few = len(cycle(database, store))
    database.execute("DELETE FROM messages")
    database.execute("DELETE FROM destinations")
    database.execute("DELETE FROM holds")
    fill(database, store, 3000, "x.example", NOW - 1, "b")
    assert len(cycle(database, store)) == few


@only_sqlite
def test_as_much_is_done_for_a_long_queue_as_for_a_short_one(database: Database, store: Store) -> None:
    """SQLite's own count of the steps of its machine, on two messages' way."""

    def steps(number: int) -> int:
        database.execute("DELETE FROM messages")
        database.execute("DELETE FROM destinations")
        fill(database, store, number, "x.example", NOW)
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        with database.engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.set_progress_handler(count, 1)
            store.start(connection)
            store.insert(connection, [message("new", "a@x.example")], b"", NOW)
            one, other = store.claim(connection, NOW, 2)
            assert store.settle(connection, one, deferred(one, NOW + 60), [], NOW, 0.0)
            assert store.settle(connection, other, all_as(other, STORED), [], NOW, 0.0)
            assert len(store.overdue(connection, NOW + 9 * DAY, DAY, DAY, 2)) == 2
            store.next_ready(connection, NOW)
            driver.set_progress_handler(None, 1)
        return counted

    few = steps(50)
    assert steps(3000) <= few * 1.1


@only_postgresql
def test_postgresql_finds_work_by_the_indexes_of_what_waits(database: Database, store: Store) -> None:
    """With some thousands that are due, as many that are not, and as many that have ended."""
    for index in range(20):
        fill(database, store, 300, f"x{index}.example", NOW - 1, f"m{index}.")
    database.execute("UPDATE recipients SET state = 'delivered' WHERE mod(id, 3) = 0")
    database.execute(f"UPDATE recipients SET due = {NOW + DAY} WHERE mod(id, 3) = 1")
    database.execute("ANALYZE")
    statements = [each for each in cycle(database, store) if "FOR UPDATE" in each[0] or "SELECT recipients" in each[0]]
    plans = []
    for statement, parameters in statements:
        with database.engine.begin() as connection:
            found = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
            plans += [line for line in found if "Scan" in line and (" on recipients" in line or " on messages" in line)]
    assert [line for line in plans if "Seq Scan" in line] == []
    assert any("recipients_due" in line for line in plans)
    assert any("recipients_overdue" in line for line in plans)


def paced(seconds: float, most: int = 20) -> Callable[[str], Allowance]:
    return lambda destination: Allowance(most, seconds)


def test_a_destination_at_its_rate_is_not_ready_before_the_next_is_allowed(database: Database, store: Store) -> None:
    fill(database, store, 5, "x.example")
    assert len(database.write(store.claim, NOW, 10, allowed=paced(6.0))) == 1
    assert database.write(store.next_ready, NOW) == NOW + 6
    assert database.write(store.claim, NOW + 5.9, 10, allowed=paced(6.0)) == []
    assert len(database.write(store.claim, NOW + 6, 10, allowed=paced(6.0))) == 1


def test_what_comes_to_a_destination_at_its_rate_waits_too(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example")
    assert len(database.write(store.claim, NOW, 10, allowed=paced(6.0))) == 1
    fill(database, store, 1, "x.example", NOW + 1, "n")
    assert database.write(store.next_ready, NOW) == NOW + 6


def test_at_a_high_rate_a_seconds_messages_go_together(database: Database, store: Store) -> None:
    fill(database, store, 50, "x.example")
    assert len(database.write(store.claim, NOW, 50, None, 50, allowed=paced(0.1))) == 10
    assert database.write(store.next_ready, NOW) == NOW + 1


def test_a_rate_is_that_of_all_nodes_together(database: Database, store: Store) -> None:
    fill(database, store, 5, "x.example")
    other = Store("there")
    database.write(other.start)
    taken: list[float] = []
    for second in range(60):
        for node in (store, other):
            taken += [second] * len(database.write(node.claim, NOW + second, 10, allowed=paced(20.0)))
    assert taken == [0, 20, 40]


def test_time_without_mail_does_not_let_more_go_later(database: Database, store: Store) -> None:
    fill(database, store, 5, "x.example")
    assert len(database.write(store.claim, NOW + DAY, 10, allowed=paced(6.0))) == 1
    assert database.write(store.claim, NOW + DAY + 5, 10, allowed=paced(6.0)) == []


def test_a_destination_is_not_forgotten_while_its_rate_holds_the_next_back(database: Database, store: Store) -> None:
    fill(database, store, 1, "x.example")
    database.write(store.claim, NOW, 10, allowed=paced(6.0))
    database.write(store.sweep, NOW + 5, DAY, 10)
    fill(database, store, 1, "x.example", NOW + 5, "n")
    assert database.write(store.next_ready, NOW) == NOW + 6


def test_a_rate_kept_by_a_clock_that_was_ahead_is_forgotten(database: Database, store: Store) -> None:
    fill(database, store, 2, "x.example")
    database.write(store.claim, NOW + DAY, 1, allowed=paced(6.0))
    database.write(store.recall, NOW, 7200.0, 10)
    assert len(database.write(store.claim, NOW, 10, allowed=paced(6.0))) == 1


@only_postgresql
def test_a_destination_gets_no_more_than_its_share_from_all_nodes(database: Database, store: Store) -> None:
    fill(database, store, 10, "x.example")
    other = Store("there")
    database.write(other.start)
    first = database.write(store.claim, NOW, 3, None, 9, allowed=paced(0.0, 4))
    assert len(first) == 3
    crowded: set[str] = set()
    assert len(database.write(other.claim, NOW, 9, None, 9, allowed=paced(0.0, 4), crowded=crowded)) == 1
    assert crowded == set()
    for node in (store, other):
        assert database.write(node.claim, NOW, 9, None, 9, allowed=paced(0.0, 4), crowded=crowded) == []
    assert crowded == {"x.example"}
    assert database.write(store.next_ready, NOW, crowded) is None
    assert database.write(store.settle, first[0], all_as(first[0], STORED), [], NOW, 0.0)
    assert len(database.write(other.claim, NOW, 9, None, 9, allowed=paced(0.0, 4))) == 1


@only_postgresql
def test_what_two_nodes_claim_at_once_is_within_the_share(database: Database, store: Store) -> None:
    fill(database, store, 10, "x.example")
    other = Store("there")
    with database.engine.begin() as connection:
        assert len(store.claim(connection, NOW, 9, None, 9, allowed=paced(0.0, 4))) == 4
        assert database.write(other.claim, NOW, 9, None, 9, allowed=paced(0.0, 4)) == []  # it is locked
    assert database.write(other.claim, NOW, 9, None, 9, allowed=paced(0.0, 4)) == []
