"""Leases belong to nodes, which may die."""

from __future__ import annotations

from mailagent.queue.items import QueuedItem
from mailagent.queue.store import Store
from mailagent.queue.store_nodes import forget, listed
from tests.database.kinds import only_postgresql
from tests.database.support import Database
from tests.queue.support import NOW, message


def lease_one(database: Database, store: Store) -> QueuedItem:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    item: QueuedItem
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
    assert database.write(other.adopt) == 1
    assert not database.read(store.still_leased, item)
    assert len(database.write(other.claim, NOW, 10)) == 1


def test_a_node_that_lives_keeps_its_leases(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    other = Store("there")
    database.write(other.start)
    age(database, "here", 61)
    database.write(store.beat)
    assert database.write(other.adopt) == 0
    assert database.read(store.still_leased, item)


def test_a_node_does_not_adopt_its_own(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    age(database, "here", 61)
    assert database.write(store.adopt) == 0
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


def test_a_node_is_silent_for_as_long_as_it_has_said(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    database.write(store.beat, lease=300.0)
    age(database, "here", 200)
    other = Store("there")
    assert database.write(other.adopt) == 0
    age(database, "here", 101)
    assert database.write(other.adopt) == 1
    assert not database.read(store.still_leased, item)


def test_a_node_that_comes_back_late_hears_what_is_still_its_own(database: Database, store: Store) -> None:
    lost = lease_one(database, store)
    assert database.write(store.beat) is None
    age(database, "here", 61)
    assert database.write(store.beat) == {lost.token}  # nobody else was there
    age(database, "here", 61)
    assert database.write(Store("there").adopt) == 1
    assert database.write(store.beat) == set()
    assert database.write(store.beat) is None


def test_a_node_that_was_forgotten_is_known_again_when_it_comes_back(database: Database, store: Store) -> None:
    age(database, "here", 61)
    assert database.write(forget, "here") == 0
    assert database.write(listed) == []
    assert database.write(store.beat) == set()
    [node] = database.write(listed)
    assert (node.id, node.name, node.state) == ("here", "mx.example.org", "alive")


def test_a_node_that_lives_is_not_forgotten(database: Database, store: Store) -> None:
    lease_one(database, store)
    assert database.write(forget, "here") is None
    assert [node.leased for node in database.write(listed)] == [1]


def test_what_a_forgotten_node_had_in_hand_is_free(database: Database, store: Store) -> None:
    lease_one(database, store)
    age(database, "here", 61)
    assert database.write(forget, "here") == 1
    other = Store("there")
    assert len(database.write(other.claim, NOW, 10)) == 1


def test_what_a_node_that_nobody_knows_has_in_hand_is_freed(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    database.execute("DELETE FROM nodes")  # as it was forgotten ahead of a commit of its own
    other = Store("there")
    database.write(other.start)
    assert database.write(other.adopt) == 1
    assert not database.read(store.still_leased, item)
    assert len(database.write(other.claim, NOW, 10)) == 1


def test_what_is_on_its_way_to_another_database_is_left_alone(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    database.execute("UPDATE recipients SET lease_node = 'moving'")
    assert database.write(store.adopt) == 0
    assert database.rows("SELECT lease_node FROM recipients") == ["moving"]


def test_a_node_that_has_ended_need_not_be_waited_for(database: Database, store: Store) -> None:
    lease_one(database, store)
    database.write(store.leave)
    assert [node.state for node in database.write(listed)] == ["stopped"]
    assert database.write(Store("there").adopt) == 1


def test_a_node_that_has_been_dead_for_a_day_is_forgotten(database: Database, store: Store) -> None:
    other = Store("there")
    database.write(other.start)
    age(database, "here", 86000)
    database.write(other.adopt)
    assert {node.id: node.state for node in database.write(listed)} == {"here": "silent", "there": "alive"}
    age(database, "here", 500)
    database.write(other.adopt)
    assert [node.id for node in database.write(listed)] == ["there"]


@only_postgresql
def test_a_node_is_not_adopted_while_it_comes_back(database: Database, store: Store) -> None:
    item = lease_one(database, store)
    age(database, "here", 61)
    with database.engine.begin() as connection:
        assert store.beat(connection) == {item.token}
        assert database.write(Store("there").adopt) == 0
    assert database.read(store.still_leased, item)


@only_postgresql
def test_what_is_locked_is_not_waited_for_and_freed_the_next_time(database: Database, store: Store) -> None:
    other = Store("there")
    database.write(other.start)
    database.write(store.insert, [message("m1", "a@x.example", "b@y.example")], b"", NOW)
    database.write(store.claim, NOW, 10)
    age(database, "here", 2 * 86400)
    with database.engine.begin() as third:
        third.exec_driver_sql("SELECT 1 FROM recipients WHERE address = 'a@x.example' FOR UPDATE")
        assert database.write(other.adopt) == 1
        assert {node.id: node.leased for node in database.write(listed)} == {"here": 1, "there": 0}
    assert database.write(other.adopt) == 1
    assert [node.id for node in database.write(listed)] == ["there"]
