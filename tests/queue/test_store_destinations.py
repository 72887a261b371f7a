"""C{destinations.ready} is right after every step: checked by a machine that takes random ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mailagent.queue.items import QUEUED, QueuedItem, Settlement
from mailagent.queue.lanes import Allowance
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import LATER, STORED, all_as, deferred, message, outcome

DESTINATIONS = ("x.example", "y.example", "z.example")
destinations = st.sampled_from(DESTINATIONS)
moments = st.integers(0, 50).map(float)

#: What it should be, from nothing but the recipients and the hold.
EXPECTED = """
SELECT name, ready, CASE WHEN due IS NULL THEN NULL WHEN due >= held_until AND due >= next_at THEN due
    WHEN held_until >= next_at THEN held_until ELSE next_at END
FROM (SELECT name, ready, held_until, next_at, (SELECT min(due) FROM recipients
    WHERE destination = name AND state = 'queued' AND lease_token IS NULL) AS due FROM destinations) AS found
"""
FORGOTTEN = """
SELECT destination FROM recipients WHERE state = 'queued' AND lease_token IS NULL EXCEPT SELECT name FROM destinations
"""


class Steps(RuleBasedStateMachine):
    """Random steps on a database."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.directory.name))
        self.store = Store("here")
        self.database.write(self.store.start)
        self.items: list[QueuedItem] = []
        self.count = 0

    def teardown(self) -> None:
        self.database.__exit__()
        self.directory.cleanup()

    def take(self, number: int) -> QueuedItem | None:
        return self.items.pop(number % len(self.items)) if self.items else None

    @rule(to=st.lists(destinations, min_size=1, max_size=3), now=moments)
    def enqueue(self, to: list[str], now: float) -> None:
        self.count += 1
        queued = message(f"m{self.count}", *(f"u{number}@{name}" for number, name in enumerate(to)))
        self.database.write(self.store.insert, [queued], b"", now)

    @rule(now=moments, room=st.integers(1, 4), busy=st.sets(destinations), pace=st.sampled_from([0.0, 0.3, 7.0]))
    def claim(self, now: float, room: int, busy: set[str], pace: float) -> None:
        allowance = Allowance(pace=pace)
        self.items += self.database.write(self.store.claim, now, room, busy=busy, allowed=lambda _: allowance)

    @rule(now=moments, limit=st.integers(1, 4))
    def overdue(self, now: float, limit: int) -> None:
        self.items += self.database.write(self.store.overdue, now, 20.0, 10.0, limit)

    @rule(number=st.integers(0), due=moments)
    def defer(self, number: int, due: float) -> None:
        item = self.take(number)
        if item is not None:
            assert self.database.write(self.store.settle, item, deferred(item, due), [], due, 0.0)

    @rule(number=st.integers(0), at=moments)
    def deliver(self, number: int, at: float) -> None:
        item = self.take(number)
        if item is not None:
            assert self.database.write(self.store.settle, item, all_as(item, STORED), [], at, 0.0)

    @rule(number=st.integers(0), due=st.none() | moments)
    def release(self, number: int, due: float | None) -> None:
        item = self.take(number)
        if item is not None:
            assert self.database.write(self.store.release, item, due)

    @rule(name=destinations, until=moments)
    def hold(self, name: str, until: float) -> None:
        self.database.write(self.store.hold_destination, name, until, "")

    @rule(now=moments)
    def sweep(self, now: float) -> None:
        self.database.write(self.store.sweep, now, 10.0, 2)

    @rule()
    def restart(self) -> None:
        self.database.write(self.store.start)
        self.items.clear()

    @invariant()
    def ready_is_right(self) -> None:
        for name, ready, expected in self.database.rows(EXPECTED):
            assert ready == expected, name

    @invariant()
    def nothing_that_waits_is_forgotten(self) -> None:
        assert self.database.rows(FORGOTTEN) == []


TestSteps = Steps.TestCase
TestSteps.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_of_all_that_comes_to_wait_in_a_transaction_the_earliest_counts(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example", "b@x.example", "c@x.example")], b"", 1.0)
    [item] = database.write(store.claim, 1.0, 1)
    settlements = [
        Settlement(each, outcome(each, LATER), QUEUED, due)
        for each, due in zip(item.recipients, (60.0, 30.0, 90.0), strict=True)
    ]
    assert database.write(store.settle, item, settlements, [], 1.0, 0.0)
    assert database.read(store.next_ready, 1.0) == 30.0
