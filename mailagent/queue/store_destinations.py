"""C{destinations.ready}, kept right: the latest of C{held_until}, C{next_at} and the earliest C{due} of what waits.

It is what finds work without a look at what is not due: a destination that is held costs nothing, however much waits
for it. Whoever adds what waits L{offer}s; whoever takes some away has it L{recompute}d, by one seek of an index. That
is done at the transaction's end (L{mailagent.database.ending}): many nodes want the same few rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, ClassVar

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mailagent.database.ending import at_end, end_now
from mailagent.database.schema import WAITS, destinations, recipients
from mailagent.queue import store_holds
from mailagent.queue.store_holds import NOT_HELD, Hold
from mailagent.queue.store_rows import is_text

#: Why a destination is not held: the operator has it tried, until something new is found out about it.
RETRY = "retry"
#: The condition of L{WAITS}, as an expression.
WAITING = sa.text(WAITS)
#: Where there is no hold.
_FREE = {"held_until": 0.0, "reason": ""}

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


#: Until when nothing goes there, whatever waits.
_BLOCKED = _later(destinations.c.held_until, destinations.c.next_at)
#: Destinations are locked in one order: Python's, that of the characters' numbers.
_LOCK = (
    sa.select(destinations.c.name)
    .where(destinations.c.name.in_(sa.bindparam("names", expanding=True)))
    .order_by(sa.collate(destinations.c.name, "C"))
    .with_for_update()
)
_RECOMPUTE = (
    sa.update(destinations)
    .where(destinations.c.name.in_(sa.bindparam("names", expanding=True)))
    .values(ready=_later(_EARLIEST, _BLOCKED))
)
_HELD_BY_NONE = (
    sa.update(destinations)
    .where(destinations.c.name.in_(sa.bindparam("names", expanding=True)))
    .values(held_until=0.0, reason=RETRY)
)
_NEXT = (
    sa.select(destinations.c.ready)
    .where(destinations.c.ready.is_not(None), destinations.c.name.not_in(sa.bindparam("busy", expanding=True)))
    .where(NOT_HELD)
    .order_by(destinations.c.ready)
    .limit(1)
)


def _insert(dialect: str) -> Any:
    """An INSERT that may have C{ON CONFLICT}, which the dialects spell alike and SQLAlchemy not at all."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(destinations)


@cache
def _offer(dialect: str) -> sa.Insert:
    insert = _insert(dialect)
    offered = _later(insert.excluded.ready, _BLOCKED)
    earlier = sa.case((destinations.c.ready <= offered, destinations.c.ready), else_=offered)
    statement: sa.Insert = insert.on_conflict_do_update(index_elements=["name"], set_={"ready": earlier})
    return statement


@attrs.define
class _Changes:
    """What becomes of destinations in a transaction: written at its end, when all that waits there is known."""

    turn: ClassVar[int] = 1
    due: dict[str, float] = attrs.field(factory=dict)  # something new waits, from then
    held: dict[str, Hold] = attrs.field(factory=dict)  # by this node
    freed: set[str] = attrs.field(factory=set)  # whoever held them
    missing: set[str] = attrs.field(factory=set)  # they may have been swept away
    changed: set[str] = attrs.field(factory=set)  # to be computed

    def write(self, connection: sa.Connection) -> None:
        """Write it all down. Each destination is locked before anything is computed of it, in the order of the names:
        a statement sees what was committed when it began, not when it had its turn."""
        dialect = connection.dialect.name
        computed = self.changed | self.held.keys() | self.freed | self.missing
        if self.due or self.held or self.freed or self.missing:
            rows = [{"name": name, "ready": self.due.get(name), **_FREE} for name in sorted(computed | self.due.keys())]
            connection.execute(_offer(dialect), rows)
        elif dialect == "postgresql":
            connection.execute(_LOCK, {"names": sorted(computed)})
        if self.held:
            store_holds.keep(connection, self.held)
        if self.freed:
            connection.execute(_HELD_BY_NONE, {"names": sorted(self.freed)})
            store_holds.end(connection, sorted(self.freed))
        if computed:
            connection.execute(_RECOMPUTE, {"names": sorted(computed)})


def offer(connection: sa.Connection, due: Iterable[tuple[str, float]]) -> None:
    """Something waits now: at which destinations, and from which moments; there may be several for one."""
    offered = at_end(connection, _Changes).due
    for name, moment in due:
        offered[name] = min(moment, offered.get(name, moment))


def recompute(connection: sa.Connection, names: Collection[str]) -> None:
    """What waits at these destinations has become less, or is held until another moment."""
    at_end(connection, _Changes).changed |= _readable(names)


def restore(connection: sa.Connection, names: Collection[str]) -> None:
    """Something waits again at these destinations, which may have been swept away meanwhile."""
    at_end(connection, _Changes).missing |= _readable(names)


def forget(connection: sa.Connection, name: str | bytes) -> None:
    """Remove a destination whose name cannot be read. What it was is not known, so nothing waits behind it."""
    octets = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    spelt = sa.cast(sa.literal(octets), sa.Text)
    connection.execute(sa.delete(destinations).where(destinations.c.name.in_([sa.literal(octets), spelt])))


def _readable(names: Collection[str]) -> set[str]:
    """Without those of damaged rows, where nothing can be looked for."""
    return set(filter(is_text, names))


def hold(connection: sa.Connection, name: str, hold: Hold) -> None:
    """The node claims nothing there before C{hold.until}; nor does any other, where all of them hold it."""
    at_end(connection, _Changes).held[name] = hold


def end_holds(connection: sa.Connection, names: Collection[str]) -> None:
    """The operator wants these tried, whatever has been found out about them."""
    at_end(connection, _Changes).freed |= _readable(names)


def space(connection: sa.Connection, name: str, now: float, seconds: float) -> None:
    """For what is taken from there C{now}, the next waits so long: after it, or after what others have just taken."""
    begun = _later(sa.literal(now, sa.Double), destinations.c.next_at)
    connection.execute(sa.update(destinations).where(destinations.c.name == name).values(next_at=begun + seconds))


def next_ready(connection: sa.Connection, node: str, now: float, busy: Collection[str]) -> float | None:
    """When there will be something to claim, at any destination that is not C{busy} and that the node does not hold
    C{now} for longer than all do; C{None}, if nothing waits."""
    end_now(connection)
    return connection.scalar(_NEXT, {"node": node, "now": now, "busy": list(busy)})


def recall(connection: sa.Connection, now: float, latest: float, limit: int) -> int:
    """Where nothing is ready until after C{latest}, what waits is due C{now}, and nothing is held that long; returns at
    how many destinations, of which there may be more."""
    end_now(connection)
    far = sa.select(destinations.c.name).where(destinations.c.ready > latest).limit(limit)
    names = _readable(connection.scalars(far.with_for_update(skip_locked=True)).all())
    if not names:
        return 0
    late = sa.and_(recipients.c.destination.in_(names), recipients.c.due > latest, WAITING)
    connection.execute(sa.update(recipients).where(late).values(due=now))
    these = sa.update(destinations).where(destinations.c.name.in_(names))
    connection.execute(these.where(destinations.c.held_until > latest).values(_FREE))
    connection.execute(these.where(destinations.c.next_at > latest).values(next_at=0.0))
    recompute(connection, names)
    return len(names)


def sweep_idle(connection: sa.Connection, now: float, limit: int) -> int:
    """Forget destinations where nothing waits and nothing could be held back."""
    end_now(connection)
    free = sa.and_(destinations.c.held_until <= now, destinations.c.next_at <= now)
    idle = sa.select(destinations.c.name).where(destinations.c.ready.is_(None), free)
    names = connection.scalars(idle.limit(limit).with_for_update(skip_locked=True)).all()
    return connection.execute(sa.delete(destinations).where(destinations.c.name.in_(names))).rowcount if names else 0
