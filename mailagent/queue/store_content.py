"""Reading a message's content, piece by piece, and sweeping out what nobody needs any more."""

from __future__ import annotations

import sqlalchemy as sa

from mailagent.database.moment import database_now
from mailagent.database.schema import chunks, messages, staged
from mailagent.queue.store_destinations import sweep_idle
from mailagent.queue.store_insert import discard

#: Seconds after which content whose envelope has not come is given up.
ORPHANED = 86400.0
_CHUNK = sa.select(chunks.c.octets).where(
    chunks.c.message_id == sa.bindparam("message"), chunks.c.number == sa.bindparam("piece")
)
_BODY = sa.select(messages.c.body).where(messages.c.id == sa.bindparam("message"))


def read_piece(connection: sa.Connection, message_id: str, number: int) -> bytes | None:
    """One piece of a message's content, counted from 0; C{None} where there is none such. That of a small message is
    all in the first."""
    octets: bytes | None = connection.scalar(_CHUNK, {"message": message_id, "piece": number})
    if octets is None and number == 0:
        return connection.scalar(_BODY, {"message": message_id})
    return octets


def sweep(connection: sa.Connection, now: float, keep: float, limit: int) -> int:
    """See L{mailagent.queue.store.Store.sweep}."""
    old = sa.select(messages.c.id).where(messages.c.finished <= now - keep).order_by(messages.c.finished).limit(limit)
    ended = connection.scalars(old.with_for_update(skip_locked=True)).all()
    removed = connection.execute(sa.delete(messages).where(messages.c.id.in_(ended))).rowcount if ended else 0
    orphans = sa.select(staged.c.message_id).where(staged.c.created < database_now() - ORPHANED).limit(limit)
    orphans = orphans.with_for_update(skip_locked=True)
    ids = connection.scalars(orphans).all()
    discard(connection, ids)
    return removed + len(ids) + sweep_idle(connection, now, limit)
