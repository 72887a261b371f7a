"""Leases belong to nodes, which may die."""

from __future__ import annotations

from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import NOW, message


def lease_one(database: Database, store: Store) -> object:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    return item


def age(database: Database, node: str, seconds: float) -> None:
    """Let a node's last sign of life be so long ago."""
    database.execute("UPDATE nodes SET heartbeat = heartbeat - ? WHERE id = ?", seconds, node)


def test_a_restarted_node_retakes_its_own_at_once(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    again = Store("here")
    assert database.write(again.start) == 1
    assert not database.read(again.still_leased, item)
    assert len(database.write(again.claim, NOW, 10)) == 1


def test_a_start_leaves_the_leases_of_others(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    assert database.write(Store("there").start) == 0
    assert database.read(store.still_leased, item)


def test_the_leases_of_a_dead_node_are_freed(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    other = Store("there")
    database.write(other.start)
    age(database, "here", 61)
    assert database.write(other.adopt, 60.0) == 1
    assert not database.read(store.still_leased, item)
    assert len(database.write(other.claim, NOW, 10)) == 1


def test_a_node_that_lives_keeps_its_leases(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    other = Store("there")
    database.write(other.start)
    age(database, "here", 61)
    database.write(store.beat)
    assert database.write(other.adopt, 60.0) == 0
    assert database.read(store.still_leased, item)


def test_a_node_does_not_adopt_its_own(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    age(database, "here", 61)
    assert database.write(store.adopt, 60.0) == 0
    assert database.read(store.still_leased, item)


def test_a_lease_that_nobody_has_in_hand_can_be_freed_by_its_token(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    other = Store("there")
    database.write(other.start)
    tokens = database.read(store.leases)
    assert database.read(other.leases) == set()
    assert [database.write(each.free, tokens) for each in (other, store)] == [0, 1]
    assert not database.read(store.still_leased, item)
    assert len(database.write(other.claim, NOW, 10)) == 1


def test_what_is_freed_is_found_though_its_destination_was_swept_away(database: Database, store: Store) -> None:
    lease_one(database, store)
    database.write(store.sweep, NOW, 60.0, 10)
    assert database.rows("SELECT count(*) FROM destinations") == [0]
    database.write(store.start)
    assert len(database.write(store.claim, NOW, 10)) == 1
