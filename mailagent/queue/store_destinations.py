"""C{destinations.ready}, kept right: the later of C{held_until} and the earliest C{due} of what waits there.

It is what finds work without a look at what is not due: a destination that is held costs nothing, however much waits
for it. Whoever adds what waits L{offer}s; whoever takes some away has it L{recompute}d, by one seek of an index.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mailagent.database.schema import WAITS, destinations, recipients
from mailagent.queue.store_rows import is_text

#: Why a destination is not held: the operator has it tried, until something new is found out about it.
RETRY = "retry"
#: The condition of L{WAITS}, as an expression.
WAITING = sa.text(WAITS)

_EARLIEST = (
    sa.select(recipients.c.due)
    .where(recipients.c.destination == destinations.c.name, WAITING)
    .order_by(recipients.c.due)
    .limit(1)
    .scalar_subquery()
)


def _later(one: Any, other: Any) -> sa.ColumnElement[float]:
    """The later of two moments; NULL where C{one} is."""
    return sa.case((one < other, other), else_=one)


_RECOMPUTE = (
    sa.update(destinations)
    .where(destinations.c.name.in_(sa.bindparam("names", expanding=True)))
    .values(ready=_later(_EARLIEST, destinations.c.held_until))
)
_NEXT = (
    sa.select(destinations.c.ready)
    .where(destinations.c.ready.is_not(None), destinations.c.name.not_in(sa.bindparam("busy", expanding=True)))
    .order_by(destinations.c.ready)
    .limit(1)
)


def _insert(dialect: str) -> Any:
    """An INSERT that may have C{ON CONFLICT}, which the dialects spell alike and SQLAlchemy not at all."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(destinations)


@cache
def _offer(dialect: str) -> sa.Insert:
    insert = _insert(dialect)
    offered = _later(insert.excluded.ready, destinations.c.held_until)
    earlier = sa.case((destinations.c.ready <= offered, destinations.c.ready), else_=offered)
    statement: sa.Insert = insert.on_conflict_do_update(index_elements=["name"], set_={"ready": earlier})
    return statement


def offer(connection: sa.Connection, due: Mapping[str, float]) -> None:
    """Something waits at each of these destinations now, from the moment given."""
    rows = [{"name": name, "ready": due[name], "held_until": 0.0, "reason": ""} for name in sorted(due)]
    connection.execute(_offer(connection.dialect.name), rows)


def recompute(connection: sa.Connection, names: Collection[str]) -> None:
    """What waits at these destinations has become less, or is held until another moment."""
    if names:
        connection.execute(_RECOMPUTE, {"names": _readable(names)})


def restore(connection: sa.Connection, names: Collection[str]) -> None:
    """Something waits again at these destinations, which may have been swept away meanwhile."""
    if readable := _readable(names):
        rows = [{"name": name, "held_until": 0.0, "reason": ""} for name in readable]
        connection.execute(_insert(connection.dialect.name).on_conflict_do_nothing(), rows)
        recompute(connection, readable)


def forget(connection: sa.Connection, name: str | bytes) -> None:
    """Remove a destination whose name cannot be read. What it was is not known, so nothing waits behind it."""
    octets = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    spelt = sa.cast(sa.literal(octets), sa.Text)
    connection.execute(sa.delete(destinations).where(destinations.c.name.in_([sa.literal(octets), spelt])))


def _readable(names: Collection[str]) -> list[str]:
    """Each once, in order; without those of damaged rows, where nothing can be looked for."""
    return sorted(set(filter(is_text, names)))


def hold(connection: sa.Connection, name: str, until: float, reason: str) -> None:
    """Nothing is claimed there before C{until}, in seconds since the epoch; 0 ends a hold."""
    insert = _insert(connection.dialect.name)
    changes = {"held_until": insert.excluded.held_until, "reason": insert.excluded.reason}
    statement = insert.on_conflict_do_update(index_elements=["name"], set_=changes)
    connection.execute(statement, {"name": name, "held_until": until, "reason": reason})
    recompute(connection, [name])


def next_ready(connection: sa.Connection, busy: Collection[str] = ()) -> float | None:
    """When there will be something to claim, at any destination that is not C{busy}; C{None}, if nothing waits."""
    return connection.scalar(_NEXT, {"busy": list(busy)})


def recall(connection: sa.Connection, now: float, latest: float) -> None:
    """Where nothing is ready until after C{latest}, what waits is due C{now}, and nothing is held that long."""
    names = connection.scalars(sa.select(destinations.c.name).where(destinations.c.ready > latest)).all()
    for name in names:
        late = sa.and_(recipients.c.destination == name, recipients.c.due > latest, WAITING)
        connection.execute(sa.update(recipients).where(late).values(due=now))
        held = sa.and_(destinations.c.name == name, destinations.c.held_until > latest)
        connection.execute(sa.update(destinations).where(held).values(held_until=0.0, reason=""))
    recompute(connection, names)


def sweep_idle(connection: sa.Connection, now: float, limit: int) -> int:
    """Forget destinations where nothing waits and that are not held."""
    idle = sa.select(destinations.c.name).where(destinations.c.ready.is_(None), destinations.c.held_until <= now)
    return connection.execute(sa.delete(destinations).where(destinations.c.name.in_(idle.limit(limit)))).rowcount
