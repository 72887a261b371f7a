"""Nodes: who holds leases, and whether it lives. By the database's clock: nodes need not agree on theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs
import sqlalchemy as sa

from mailagent.database.moment import database_now
from mailagent.database.schema import ALIVE, nodes, recipients
from mailagent.queue.store_destinations import restore

#: Seconds without a heartbeat after which a node is thought dead, where it does not say otherwise.
LEASE = 60.0
#: Seconds after which one that is dead is forgotten.
_FORGOTTEN = 86400.0
#: Recipients leased to a node that nobody knows: it was forgotten while the commit of a claim was under way. Those on
#: their way to another database have no token.
_NOBODYS = sa.and_(
    recipients.c.lease_node.is_not(None),
    recipients.c.lease_token.is_not(None),
    recipients.c.lease_node.not_in(sa.select(nodes.c.id)),
)
#: Nodes that have nothing leased.
_IDLE = ~sa.exists().where(recipients.c.lease_node == nodes.c.id)


class NodeTaken(Exception):
    """Another process has started as this node since we did."""


def start(connection: sa.Connection, node: Mapping[str, object]) -> int:
    """Register a node that starts, and free what it had leased before; returns how many recipients that were.

    @param node: its row, but for the moments.
    """
    connection.execute(sa.delete(nodes).where(nodes.c.id == node["id"]))
    _register(connection, node)
    return _free(connection, recipients.c.lease_node == node["id"])


def _register(connection: sa.Connection, node: Mapping[str, object]) -> None:
    connection.execute(sa.insert(nodes).values(started=database_now(), heartbeat=database_now(), **node))


def beat(connection: sa.Connection, node: Mapping[str, object]) -> set[str] | None:
    """The node lives. See L{mailagent.queue.store.Store.beat}."""
    lives = sa.update(nodes).where(_is(node)).values(heartbeat=database_now(), lease=node["lease"])
    if connection.execute(lives.where(ALIVE)).rowcount:
        return None
    if not connection.execute(lives).rowcount:
        if connection.scalar(sa.select(nodes.c.process).where(nodes.c.id == node["id"])) is not None:
            raise NodeTaken
        _register(connection, node)  # it was forgotten
    return leases(connection, str(node["id"]))


def leave(connection: sa.Connection, node: Mapping[str, object]) -> None:
    """The node ends: others need not wait to be sure of it."""
    connection.execute(sa.update(nodes).where(_is(node)).values(heartbeat=database_now(), lease=0.0))


def _is(node: Mapping[str, object]) -> sa.ColumnElement[bool]:
    """The row that this process wrote, which is a node."""
    return sa.and_(nodes.c.id == node["id"], nodes.c.process == node["process"])


def adopt(connection: sa.Connection, node: str) -> int:
    """Free the leases of other nodes that are dead, or that nobody knows, and forget those that have been dead for
    long; returns how many recipients that were. What others have locked is passed over, and so is there the next time.
    """
    dead = sa.select(nodes.c.id, nodes.c.heartbeat < database_now() - _FORGOTTEN).where(nodes.c.id != node, ~ALIVE)
    dead = dead.with_for_update(skip_locked=True)  # another node may be at it, or this one lives again
    gone = dict(map(tuple, connection.execute(dead)))
    freed = _free(connection, _unlocked(recipients.c.lease_node.in_(gone))) if gone else 0
    if forgotten := [id_ for id_, long in gone.items() if long]:
        connection.execute(sa.delete(nodes).where(nodes.c.id.in_(forgotten), _IDLE))
    return freed + _free(connection, _unlocked(_NOBODYS))


def _unlocked(whose: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Those of these recipients that no other transaction has locked."""
    return recipients.c.id.in_(sa.select(recipients.c.id).where(whose).with_for_update(skip_locked=True))


def forget(connection: sa.Connection, node: str) -> int | None:
    """Free a node's leases and forget it, unless it lives; returns how many recipients that were, C{None} where it
    lives."""
    dead = sa.select(nodes.c.id).where(nodes.c.id == node, ~ALIVE).with_for_update()
    if connection.scalar(dead) is None:
        return None
    freed = _free(connection, recipients.c.lease_node == node)
    connection.execute(sa.delete(nodes).where(nodes.c.id == node))
    return freed


def leases(connection: sa.Connection, node: str) -> set[str]:
    """The tokens under which the node has recipients leased."""
    tokens = sa.select(recipients.c.lease_token).where(recipients.c.lease_node == node).distinct()
    return set(connection.scalars(tokens))


def free(connection: sa.Connection, node: str, tokens: Collection[str]) -> int:
    """Free what the node has leased under these tokens; returns how many recipients that were."""
    return _free(connection, sa.and_(recipients.c.lease_node == node, recipients.c.lease_token.in_(tokens)))


def living(connection: sa.Connection) -> set[str]:
    """The nodes that are not thought dead."""
    return set(connection.scalars(sa.select(nodes.c.id).where(ALIVE)))


def _free(connection: sa.Connection, whose: sa.ColumnElement[bool]) -> int:
    freed = sa.update(recipients).where(whose).values(lease_node=None, lease_token=None)
    names = connection.scalars(freed.returning(recipients.c.destination)).all()
    restore(connection, set(names))
    return len(names)


@attrs.frozen
class Node:
    """One that has a part in the queue. Moments are seconds since the epoch, by the database's clock.

    @ivar state: L{LIVES}; L{STOPPED}, in good order; or L{SILENT}: dead, frozen or cut off.
    @ivar heartbeat: when it last said that it lives, C{silent} seconds ago.
    @ivar leased: how many recipients it has in hand.
    """

    id: str
    name: str
    version: str
    state: str
    leased: int
    started: float
    heartbeat: float
    silent: float


LIVES, STOPPED, SILENT = "alive", "stopped", "silent"


def listed(connection: sa.Connection) -> list[Node]:
    """All of them, by name."""
    leased = sa.select(sa.func.count()).where(recipients.c.lease_node == nodes.c.id).scalar_subquery()
    state = sa.case((ALIVE, LIVES), (nodes.c.lease == 0.0, STOPPED), else_=SILENT)
    found = sa.select(nodes, state.label("state"), leased.label("leased"), database_now().label("now"))
    return [
        Node(row.id, row.name, row.version, row.state, row.leased, row.started, row.heartbeat, row.now - row.heartbeat)
        for row in connection.execute(found.order_by(nodes.c.name, nodes.c.id))
    ]
