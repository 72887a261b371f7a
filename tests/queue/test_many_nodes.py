"""Several nodes at one PostgreSQL, at the same moment: nobody gets what another has, waits in a circle, or forgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from mailagent.database.ending import end_now
from mailagent.queue.items import QUEUED, QueuedItem
from mailagent.queue.store import Store
from tests.database.kinds import only_postgresql
from tests.database.support import Database
from tests.queue.support import NOW, STORED, all_as, deferred, message, names
from tests.queue.test_store_destinations import EXPECTED, FORGOTTEN

pytestmark = only_postgresql
DAY = 86400.0
Step = Callable[[sa.Connection], object]
Last = Callable[[sa.Connection], list[QueuedItem]]
PLACES = [f"{letter}.example" for letter in "abcdef"]


@pytest.fixture
def one(database: Database) -> Store:
    return started(database, "one")


@pytest.fixture
def other(database: Database) -> Store:
    return started(database, "other")


def started(database: Database, node: str) -> Store:
    store = Store(node)
    database.write(store.start)
    return store


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def until_it_waits(database: Database, work: Future[Any]) -> None:
    """Until somebody in the database waits for somebody else there."""
    blocked = "datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
    while database.rows(f"SELECT count(*) FROM pg_stat_activity WHERE {blocked}") == [0]:
        assert not work.done(), work.result()


def right(database: Database) -> None:
    """What can be claimed will be found."""
    for name, ready, expected in database.rows(EXPECTED.replace("max(min(due), max(held_until))", GREATEST)):
        assert ready == expected, name
    assert database.rows(FORGOTTEN) == []


#: SQLite's C{max} of two, where either may be nothing.
GREATEST = "CASE WHEN min(due) < held_until THEN held_until ELSE min(due) END"


def test_two_nodes_that_claim_at_once_share_and_do_not_wait(database: Database, one: Store, other: Store) -> None:
    for index, name in enumerate("xyz"):
        at = [message(f"{name}{number}", f"u@{name}.example") for number in range(2)]
        database.write(one.insert, at, b"", NOW + index)
    with database.engine.begin() as connection:
        mine = one.claim(connection, NOW + 9, 1)
        theirs = database.write(other.claim, NOW + 9, 9)
    assert [item.destination for item in mine] == ["x.example"]
    assert [item.destination for item in theirs] == ["y.example"] * 2  # not z, where the first has had a look
    assert sorted(names(database.write(other.claim, NOW + 9, 9))) == [
        ("x1", ["u@x.example"]),
        ("z0", ["u@z.example"]),
        ("z1", ["u@z.example"]),
    ]
    right(database)


def test_what_was_committed_while_a_node_waited_for_the_destination_is_not_forgotten(
    database: Database, one: Store, other: Store, threads: ThreadPoolExecutor
) -> None:
    database.write(one.insert, [message("old", "a@x.example")], b"", NOW - DAY)
    with database.engine.begin() as connection:
        one.insert(connection, [message("new", "b@x.example")], b"", NOW)
        end_now(connection)
        claiming = threads.submit(database.write, other.overdue, NOW - 1, DAY / 2, DAY / 2, 1)
        until_it_waits(database, claiming)
    assert names(claiming.result()) == [("old", ["a@x.example"])]
    right(database)
    assert names(database.write(one.claim, NOW, 1)) == [("new", ["b@x.example"])]


def test_of_two_nodes_that_end_a_messages_last_recipients_one_ends_the_message(
    database: Database, one: Store, other: Store, threads: ThreadPoolExecutor
) -> None:
    database.write(one.insert, [message("m1", "a@x.example", "b@y.example")], b"body", NOW)
    [mine] = database.write(one.claim, NOW, 1, busy=["y.example"])
    [theirs] = database.write(other.claim, NOW, 1)
    with database.engine.begin() as connection:
        assert one.settle(connection, mine, all_as(mine, STORED), [], NOW, 0.0)
        end_now(connection)
        settling = threads.submit(database.write, other.settle, theirs, all_as(theirs, STORED), [], NOW, 0.0)
        until_it_waits(database, settling)
    assert settling.result() is True
    assert database.rows("SELECT finished, body FROM messages") == [(NOW, None)]


def test_a_destination_is_not_swept_away_from_under_what_just_comes(
    database: Database, one: Store, other: Store
) -> None:
    database.write(one.hold_destination, "x.example", 0.0, "")
    with database.engine.begin() as connection:
        one.insert(connection, [message("m1", "a@x.example")], b"", NOW)
        end_now(connection)
        database.write(other.sweep, NOW, DAY, 10)
    right(database)
    assert len(database.write(other.claim, NOW, 1)) == 1


def test_the_order_of_a_transactions_steps_lets_nobody_wait_in_a_circle(
    database: Database, one: Store, other: Store
) -> None:
    with database.engine.connect() as first, database.engine.connect() as second, first.begin(), second.begin():
        for number, (mine, theirs) in enumerate([("x.example", "y.example"), ("y.example", "x.example")]):
            one.insert(first, [message(f"a{number}", f"a@{mine}")], b"", NOW)
            other.insert(second, [message(f"b{number}", f"b@{theirs}")], b"", NOW)
    right(database)


def test_a_dead_nodes_leases_are_taken_up_once(database: Database, one: Store, other: Store) -> None:
    dead = started(database, "dead")
    database.write(dead.insert, [message("m1", "a@x.example")], b"", NOW)
    database.write(dead.claim, NOW, 1)
    database.execute("UPDATE nodes SET heartbeat = 0 WHERE id = 'dead'")
    with database.engine.begin() as connection:
        assert one.adopt(connection) == 1
        assert database.write(other.adopt) == 0
    assert names(database.write(other.claim, NOW, 1)) == [("m1", ["a@x.example"])]


class Node:
    """Does this and that, several things in a transaction, as its writer does."""

    def __init__(self, database: Database, name: str) -> None:
        self.database, self.name = database, name
        self.store = started(database, name)
        self.random = Random(name)
        self.items: list[QueuedItem] = []
        self.delivered: Counter[int] = Counter()
        self.count = 0

    def work(self, transactions: int) -> None:
        """Put in and settle, in any order, then claim."""
        for _ in range(transactions):
            steps = [self.random.choice([self.insert, self.settle, self.change])() for _ in range(4)]
            last = self.random.choice([self.claim, self.claim, self.clean])
            self.items += self.database.write(self.do, steps, last)

    def do(self, connection: sa.Connection, steps: list[Step], last: Last) -> list[QueuedItem]:
        for step in steps:
            step(connection)
        return last(connection)

    def claim(self, connection: sa.Connection) -> list[QueuedItem]:
        return self.store.claim(connection, NOW, 6, window=3)

    def clean(self, connection: sa.Connection) -> list[QueuedItem]:
        self.store.sweep(connection, NOW, DAY, 10)
        self.store.recall(connection, NOW, DAY, 10)
        return []

    def insert(self) -> Step:
        self.count += 1
        to = [f"u@{place}" for place in self.random.sample(PLACES, 3)]
        queued = message(f"{self.name}{self.count}", *to)
        return lambda connection: self.store.insert(connection, [queued], b"", NOW)

    def settle(self) -> Step:
        if not self.items:
            return self.insert()
        item = self.items.pop()
        settlements = all_as(item, STORED) if self.random.random() < 0.7 else deferred(item, NOW)
        self.delivered.update(each.recipient.id for each in settlements if each.state != QUEUED)

        def settle(connection: sa.Connection) -> None:
            assert self.store.settle(connection, item, settlements, [], NOW, 0.0)

        return settle

    def change(self) -> Step:
        store, place = self.store, self.random.choice(PLACES)
        if self.random.random() < 0.5:
            return lambda connection: store.hold_destination(connection, place, NOW - 1, "")
        return lambda connection: store.adopt(connection)

    def drain(self) -> None:
        """Deliver all there is."""
        while self.items or (items := self.database.write(self.store.claim, NOW, 100, window=100)):
            for item in self.items or items:
                settlements = all_as(item, STORED)
                assert self.database.write(self.store.settle, item, settlements, [], NOW, 0.0)
                self.delivered.update(each.recipient.id for each in settlements)
            self.items = []


def test_of_what_four_nodes_do_at_once_nothing_is_lost_or_done_twice(
    database: Database, threads: ThreadPoolExecutor
) -> None:
    nodes = [Node(database, name) for name in ("one", "two", "three", "four")]
    for done in [threads.submit(node.work, 40) for node in nodes]:
        done.result()  # a deadlock, of which the database makes an error, would be seen here
    right(database)
    for node in nodes:
        node.drain()
    delivered: Counter[int] = sum((node.delivered for node in nodes), Counter())
    assert set(delivered.values()) == {1}
    assert sorted(delivered) == database.rows("SELECT id FROM recipients ORDER BY id")
    assert database.rows("SELECT count(*) FROM messages WHERE finished IS NULL") == [0]
