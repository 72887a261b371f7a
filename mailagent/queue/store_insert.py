"""New messages: the content first, the envelope last.

The chunks of a large message are durable before anything refers to them; its envelope's transaction makes it visible,
whole. Chunks whose envelope never came are found by their row in C{staged}, which that transaction removes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from mailagent.database.moment import database_now
from mailagent.database.schema import chunks, messages, recipients, staged
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import StorageFailed
from mailagent.queue.store_destinations import offer
from mailagent.queue.store_rows import message_row, recipient_row

#: Octets of a row of content, at most.
CHUNK = 256 * 1024
_MESSAGES, _RECIPIENTS = sa.insert(messages), sa.insert(recipients)


@attrs.frozen(eq=False)
class Arrival:
    """Messages that came together and share a small content, but for those that have their own.

    @ivar at: when, in seconds since the epoch: they are due at once.
    """

    messages: Sequence[QueuedMessage]
    body: bytes
    at: float


def insert_chunk(connection: sa.Connection, message_id: str, number: int, octets: bytes) -> None:
    """Store one piece of a message that is not visible yet. C{number} counts from 0."""
    if number == 0:
        connection.execute(sa.insert(staged).values(message_id=message_id, created=database_now()))
    connection.execute(sa.insert(chunks), {"message_id": message_id, "number": number, "octets": octets})


def insert_staged(connection: sa.Connection, queued: Sequence[QueuedMessage], number: int, now: float) -> None:
    """Publish messages: their content is their own, else the C{number} chunks that each has had stored.

    @raise StorageFailed: the chunks are not there any more.
    """
    _take_staged(connection, [message.id for message in queued if message.body is None])
    _publish(
        connection,
        [message_row(message, message.body, 0 if message.body is not None else number, now) for message in queued],
        [recipient_row(message, each, now) for message in queued for each in message.envelope.recipients],
    )


def insert_many(connection: sa.Connection, arrivals: Sequence[Arrival]) -> Sequence[None]:
    """Publish messages whose content is small, in as many statements as for one."""
    each = [(message, arrival.body, arrival.at) for arrival in arrivals for message in arrival.messages]
    _publish(
        connection,
        [message_row(message, body if message.body is None else message.body, 0, at) for message, body, at in each],
        [recipient_row(message, to, at) for message, _, at in each for to in message.envelope.recipients],
    )
    return [None] * len(arrivals)


def _publish(connection: sa.Connection, rows: list[dict[str, Any]], to: list[dict[str, Any]]) -> None:
    connection.execute(_MESSAGES, rows)
    connection.execute(_RECIPIENTS, to)
    offer(connection, ((row["destination"], row["due"]) for row in to))


def discard(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Remove chunks of messages that were not published."""
    gone = connection.scalars(sa.delete(staged).where(staged.c.message_id.in_(ids)).returning(staged.c.message_id))
    connection.execute(sa.delete(chunks).where(chunks.c.message_id.in_(gone.all())))


def _take_staged(connection: sa.Connection, ids: Sequence[str]) -> None:
    if connection.execute(sa.delete(staged).where(staged.c.message_id.in_(ids))).rowcount != len(ids):
        raise StorageFailed("the message's content has been swept away meanwhile")
