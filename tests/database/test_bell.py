"""Nodes that wake each other, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from time import monotonic

from mailagent.database.bell import CHANNEL, Bell, ring
from mailagent.database.engine import for_reading
from tests.database.kinds import only_postgresql, only_sqlite
from tests.database.support import Database
from tests.postgres import Postgres

#: Seconds after which something that does not come is a failure.
PATIENCE = 60.0


class Node:
    """One that has a bell, and remembers what it heard."""

    def __init__(self, database: Database) -> None:
        self.heard: SimpleQueue[str] = SimpleQueue()
        self.bell = Bell(for_reading(database.url), lambda: self.heard.put("heard"))
        self.bell.start()
        self.hears()  # once it listens

    def hears(self) -> None:
        """Return once it has heard something more."""
        self.heard.get(timeout=PATIENCE)

    def heard_more(self) -> bool:
        try:
            self.heard.get_nowait()
        except Empty:
            return False
        return True


@contextmanager
def listening(database: Database, *, count: int) -> Iterator[list[Node]]:
    nodes = [Node(database) for _ in range(count)]
    yield nodes
    for node in nodes:
        node.bell.stop()


@only_postgresql
def test_what_one_node_rings_all_others_hear_and_it_does_not(database: Database) -> None:
    with listening(database, count=3) as (one, *others):
        one.bell.ring()
        for other in others:
            other.hears()
        others[0].bell.ring()  # whatever came before this one has come, then
        one.hears()
        assert not one.heard_more()


@only_postgresql
def test_each_ring_is_heard_after_it(database: Database) -> None:
    with listening(database, count=2) as (one, other):
        for _ in range(3):
            one.bell.ring()
            other.hears()


@only_postgresql
def test_one_without_a_bell_is_heard(database: Database) -> None:
    with listening(database, count=1) as (node,):
        ring(database.engine)
        node.hears()


@only_sqlite
def test_where_nobody_can_hear_nothing_is_rung(database: Database) -> None:
    with database.statements() as statements:
        ring(database.engine)
    assert statements == []


@only_postgresql
def test_a_node_that_was_cut_off_looks_at_once_when_it_is_back_and_hears_again(
    database: Database, postgres: Postgres
) -> None:
    with listening(database, count=2) as (one, other):
        postgres.cut(str(database.url.database))
        one.hears()
        other.hears()
        one.bell.ring()
        other.hears()


@only_postgresql
def test_a_stopped_bell_listens_no_more(database: Database, postgres: Postgres) -> None:
    listens = f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%{CHANNEL}' AND datname = %s"
    with listening(database, count=1) as (node,):
        assert postgres.execute(listens, str(database.url.database)) == [(1,)]
    end = monotonic() + PATIENCE
    while postgres.execute(listens, str(database.url.database)) != [(0,)]:
        assert monotonic() < end
    node.bell.ring()
