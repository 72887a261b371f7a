"""Holds: for how long a node leaves a destination alone, as it could not reach it, or finds it busy.

Others may reach what one cannot: a node that is cut off from the world must not keep them from it. So a hold is the
node's own, until every node that lives has one of the same destination: then, and until the first of these ends, it is
held for all, and costs nobody a look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mailagent.database.schema import ALIVE, destinations, holds, nodes

#: Whether C{:node}, at the moment C{:now}, does not leave a destination alone for longer than all do.
NOT_HELD = ~sa.exists().where(
    holds.c.destination == destinations.c.name,
    holds.c.node == sa.bindparam("node"),
    holds.c.until > sa.bindparam("now"),
    holds.c.until > destinations.c.ready,
)

_FIRST_END = (
    sa.select(sa.func.min(holds.c.until))
    .where(holds.c.destination == destinations.c.name)
    .where(holds.c.node.in_(sa.select(nodes.c.id).where(ALIVE)) | (holds.c.node == sa.bindparam("by")))
    .scalar_subquery()
)
_OTHERS = sa.exists().where(
    ALIVE, ~sa.exists().where(holds.c.destination == destinations.c.name, holds.c.node == nodes.c.id)
)
_AGREE = (
    sa.update(destinations)
    .where(destinations.c.name == sa.bindparam("at"), ~_OTHERS)
    .values(held_until=_FIRST_END, reason=sa.bindparam("why"))
)


@attrs.frozen
class Hold:
    """A node's hold of a destination.

    @ivar until: in seconds since the epoch.
    @ivar reason: what people are told.
    """

    node: str
    until: float
    reason: str


@cache
def _keep(dialect: str) -> sa.Insert:
    insert: Any = (sqlite if dialect == "sqlite" else postgresql).insert(holds)
    values = {"until": insert.excluded.until, "reason": insert.excluded.reason}
    statement: sa.Insert = insert.on_conflict_do_update(index_elements=["destination", "node"], set_=values)
    return statement


def keep(connection: sa.Connection, found: Mapping[str, Hold]) -> None:
    """Write down holds, by destinations, and hold for all what all hold now. The destinations' rows are there, and
    locked: of two nodes that do it at the same time, the later sees what the earlier wrote."""
    rows = [{"destination": name, **attrs.asdict(hold)} for name, hold in found.items()]
    connection.execute(_keep(connection.dialect.name), rows)
    connection.execute(_AGREE, [{"at": name, "by": hold.node, "why": hold.reason} for name, hold in found.items()])


def end(connection: sa.Connection, names: Sequence[str]) -> None:
    """End every node's hold of these destinations."""
    connection.execute(sa.delete(holds).where(holds.c.destination.in_(names)))


def recall(connection: sa.Connection, node: str, latest: float) -> None:
    """End holds of this node that end after C{latest}."""
    connection.execute(sa.delete(holds).where(holds.c.node == node, holds.c.until > latest))


def sweep(connection: sa.Connection, node: str, now: float) -> None:
    """Forget holds of this node that have ended, and those of nodes that nobody knows."""
    ended = sa.and_(holds.c.node == node, holds.c.until <= now)
    gone = holds.c.node.not_in(sa.select(nodes.c.id))
    connection.execute(sa.delete(holds).where(ended | gone))
