"""Nodes: who holds leases, and whether it lives. By the database's clock: nodes need not agree on theirs."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from mailagent.database.moment import database_now
from mailagent.database.schema import nodes, recipients
from mailagent.queue.store_destinations import restore

#: Seconds without a heartbeat after which a node is thought dead.
DEAD = 60.0


def start(connection: sa.Connection, node: str, name: str, version: str) -> int:
    """Register a node that starts, and free what it had leased before; returns how many recipients that were."""
    connection.execute(sa.delete(nodes).where(nodes.c.id == node))
    row = sa.insert(nodes).values(id=node, name=name, version=version)
    connection.execute(row.values(started=database_now(), heartbeat=database_now()))
    return _free(connection, recipients.c.lease_node == node)


def beat(connection: sa.Connection, node: str) -> None:
    """The node lives."""
    connection.execute(sa.update(nodes).where(nodes.c.id == node).values(heartbeat=database_now()))


def adopt(connection: sa.Connection, node: str, seconds: float) -> int:
    """Free the leases of other nodes that have not lived for so long; returns how many recipients that were."""
    dead = sa.select(nodes.c.id).where(nodes.c.id != node, nodes.c.heartbeat < database_now() - seconds)
    dead = dead.with_for_update(skip_locked=True)  # another node may be at it
    gone = connection.scalars(dead).all()
    return _free(connection, recipients.c.lease_node.in_(gone)) if gone else 0


def leases(connection: sa.Connection, node: str) -> set[str]:
    """The tokens under which the node has recipients leased."""
    tokens = sa.select(recipients.c.lease_token).where(recipients.c.lease_node == node).distinct()
    return set(connection.scalars(tokens))


def free(connection: sa.Connection, node: str, tokens: Collection[str]) -> int:
    """Free what the node has leased under these tokens; returns how many recipients that were."""
    return _free(connection, sa.and_(recipients.c.lease_node == node, recipients.c.lease_token.in_(tokens)))


def living(connection: sa.Connection) -> set[str]:
    """The nodes that are not thought dead."""
    return set(connection.scalars(sa.select(nodes.c.id).where(nodes.c.heartbeat > database_now() - DEAD)))


def _free(connection: sa.Connection, whose: sa.ColumnElement[bool]) -> int:
    freed = sa.update(recipients).where(whose).values(lease_node=None, lease_token=None)
    names = connection.scalars(freed.returning(recipients.c.destination)).all()
    restore(connection, set(names))
    return len(names)
