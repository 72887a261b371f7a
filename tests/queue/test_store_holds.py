"""A destination is held by each node for itself, and for all by all."""

from __future__ import annotations

from random import Random

from mailagent.queue.operator import Operator
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.site import all_told, running
from tests.queue.support import LATER, NOW, message

PLACE = "x.example"


def started(database: Database, name: str) -> Store:
    store = Store(name, name)
    database.write(store.start)
    return store


def waiting(database: Database, store: Store) -> None:
    """Something waits at the place."""
    database.write(store.insert, [message("m1", f"a@{PLACE}")], b"", NOW)


def gets(database: Database, store: Store, now: float = NOW) -> bool:
    """Whether a node would get it now; it is given back."""
    items = database.write(store.claim, now, 1)
    for item in items:
        database.write(store.release, item)
    return bool(items)


def held_until(database: Database) -> float:
    [until] = database.rows("SELECT held_until FROM destinations")
    assert isinstance(until, float)
    return until


def test_where_a_node_leaves_a_place_alone_the_others_go_on(database: Database, store: Store) -> None:
    other = started(database, "there")
    waiting(database, store)
    database.write(store.hold_destination, PLACE, NOW + 60, "unreachable")
    assert not gets(database, store, NOW + 59)
    assert gets(database, other)
    assert database.read(store.next_ready, NOW) is None
    assert database.read(other.next_ready, NOW) == NOW
    assert gets(database, store, NOW + 60)
    assert database.read(store.next_ready, NOW + 60) == NOW


def test_what_all_living_nodes_hold_is_held_for_all_until_the_first_hold_ends(database: Database, store: Store) -> None:
    other, dead = started(database, "there"), started(database, "dead")
    database.execute("UPDATE nodes SET heartbeat = 0 WHERE id = 'dead'")
    waiting(database, store)
    database.write(store.hold_destination, PLACE, NOW + 60, "unreachable")
    database.write(other.hold_destination, PLACE, NOW + 30, "refused")
    assert database.rows("SELECT held_until, reason FROM destinations") == [(NOW + 30, "refused")]
    assert database.read(other.next_ready, NOW) == NOW + 30
    assert (gets(database, dead, NOW + 29), gets(database, dead, NOW + 30)) == (False, True)
    assert (gets(database, other, NOW + 30), gets(database, store, NOW + 30)) == (True, False)


def test_a_hold_that_has_ended_agrees_with_nobody(database: Database, store: Store) -> None:
    other = started(database, "there")
    waiting(database, store)
    database.write(other.hold_destination, PLACE, NOW, "refused")
    database.write(store.hold_destination, PLACE, NOW + 60, "unreachable")
    assert held_until(database) <= NOW
    assert gets(database, other)


def test_a_node_that_comes_later_looks_for_itself(database: Database, store: Store) -> None:
    waiting(database, store)
    database.write(store.hold_destination, PLACE, NOW + 60, "unreachable")
    other = started(database, "there")
    database.write(store.hold_destination, PLACE, NOW + 120, "unreachable")
    assert held_until(database) == NOW + 60
    assert gets(database, other, NOW + 60)


def test_a_node_that_could_not_say_that_it_lives_holds_all_the_same(database: Database, store: Store) -> None:
    waiting(database, store)
    database.execute("UPDATE nodes SET heartbeat = 0")
    database.write(store.hold_destination, PLACE, NOW + 60, "unreachable")
    assert not gets(database, store)


def test_the_operators_retry_ends_every_nodes_hold(database: Database, store: Store) -> None:
    other = started(database, "there")
    waiting(database, store)
    for each in (store, other):
        database.write(each.hold_destination, PLACE, NOW + 60, "unreachable")
    operator = Operator("mx.example.org", lambda: NOW, Random(1))
    [number] = database.rows("SELECT id FROM recipients")
    database.write(operator.change, "retry", [number])
    assert (gets(database, store), gets(database, other)) == (True, True)


def test_a_hold_of_a_clock_that_was_ahead_is_ended(database: Database, store: Store) -> None:
    started(database, "there")
    waiting(database, store)
    database.write(store.hold_destination, PLACE, NOW + 99999, "unreachable")
    database.write(store.recall, NOW, 7200.0, 10)
    assert gets(database, store)


def test_holds_that_have_ended_or_are_of_nobody_are_forgotten(database: Database, store: Store) -> None:
    other, gone = started(database, "there"), started(database, "gone")
    for place, each, until in (("a", store, NOW), ("b", store, NOW + 1), ("c", other, NOW), ("d", gone, NOW + 1)):
        database.write(each.hold_destination, place, until, "")
    database.execute("DELETE FROM nodes WHERE id = 'gone'")
    database.write(store.sweep, NOW, 3600.0, 100)
    assert database.rows("SELECT destination FROM holds ORDER BY destination") == ["b", "c"]


def test_a_node_that_reaches_nobody_leaves_the_mail_to_the_others(database: Database, store: Store) -> None:
    """Its scheduler tries each place once, and then leaves what comes to whoever gets there."""
    other = started(database, "there")
    with running(database) as site:
        site.courier.otherwise = all_told(LATER, hold=600.0)
        site.enqueue(message("m1", f"a@{PLACE}"))
        site.scheduler.wake()
        site.enqueue(*(message(f"n{number}", f"a@{PLACE}") for number in range(5)))
        site.after(60.0, 1.0)
        assert site.courier.at(PLACE) == 1
        assert len(database.write(other.claim, NOW + 60, 10, window=10)) == 5
