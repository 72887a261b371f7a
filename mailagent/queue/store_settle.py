"""Writing down what came of attempts, all of each or nothing, and only where the lease is still ours.

What is done for several at once takes as many statements as for one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import ClassVar

import attrs
import sqlalchemy as sa

from mailagent.database.ending import at_end
from mailagent.database.schema import attempts, chunks, messages, recipients
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import QUEUED, UNFINISHED, QueuedItem, QueuedRecipient, Settlement
from mailagent.queue.store_destinations import offer
from mailagent.queue.store_insert import Arrival, insert_many
from mailagent.queue.store_rows import storable

_NEW = ["state", "attempts", "due", "delay_told", "finished", "reply_code", "reply_status", "reply_text", "host"]
_SETTLE = (
    sa.update(recipients)
    .where(recipients.c.id == sa.bindparam("recipient"))
    .values({"lease_node": None, "lease_token": None, **{name: sa.bindparam(f"new_{name}") for name in _NEW}})
)
_LEASED = sa.select(recipients.c.id).where(
    recipients.c.id.in_(sa.bindparam("ids", expanding=True)), recipients.c.lease_token == sa.bindparam("token")
)
_HELD_FAST = _LEASED.with_for_update()
_HELD_BY = (
    sa.select(recipients.c.lease_token)
    .where(recipients.c.id.in_(sa.bindparam("ids", expanding=True)))
    .where(recipients.c.lease_token.in_(sa.bindparam("tokens", expanding=True)))
    .with_for_update()
)
_HISTORY = sa.insert(attempts)
_LOCK = (
    sa.select(messages.c.id)
    .where(messages.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(messages.c.id)
    .with_for_update(key_share=True)
)
_UNFINISHED = sa.exists().where(recipients.c.message_id == messages.c.id, recipients.c.state.in_(UNFINISHED))
_RETIRE = (
    sa.update(messages)
    .where(messages.c.id.in_(sa.bindparam("ids", expanding=True)), ~_UNFINISHED)
    .values(finished=sa.bindparam("now"), body=None)
    .returning(messages.c.id, messages.c.chunks)
)
_DROP = sa.delete(chunks).where(chunks.c.message_id.in_(sa.bindparam("ids", expanding=True)))


@attrs.frozen(eq=False)
class ItemSettlement:
    """What becomes of an item: of its recipients, one by one, with the reports that are due. See
    L{mailagent.queue.store.Store.settle}."""

    item: QueuedItem
    settlements: Sequence[Settlement]
    reports: Sequence[tuple[QueuedMessage, bytes]]
    at: float
    seconds: float

    @property
    def end(self) -> float:
        return self.at + self.seconds


def still_leased(connection: sa.Connection, item: QueuedItem) -> bool:
    """Whether an item's recipients are all still leased under its token. Writes, and locks, nothing."""
    return len(connection.scalars(_LEASED, _lease(item, item.recipients)).all()) == len(item.recipients)


def _lease(item: QueuedItem, some: Sequence[QueuedRecipient]) -> dict[str, object]:
    return {"ids": [recipient.id for recipient in some], "token": item.token}


def _hold_fast(connection: sa.Connection, item: QueuedItem, some: Sequence[QueuedRecipient]) -> bool:
    """Whether the lease of C{some} of an item's recipients is ours, and stays so in this transaction."""
    return len(connection.scalars(_HELD_FAST, _lease(item, some)).all()) == len(some)


def settle(connection: sa.Connection, many: Sequence[ItemSettlement]) -> list[bool]:
    """See L{mailagent.queue.store.Store.settle}."""
    ours = _ours(connection, many)
    written = [each for each, held in zip(many, ours, strict=True) if held]
    if written:
        _write(connection, written)
    if reports := [Arrival([message], body, each.end) for each in written for message, body in each.reports]:
        insert_many(connection, reports)
    return ours


def _ours(connection: sa.Connection, many: Sequence[ItemSettlement]) -> list[bool]:
    """For each, whether the lease of those it names is ours, and stays so in this transaction."""
    ids = [settlement.recipient.id for each in many for settlement in each.settlements]
    tokens = {each.item.token for each in many}
    held = connection.execute(_HELD_BY, {"ids": ids, "tokens": list(tokens)}).all()
    found = Counter(row.lease_token for row in held)
    return [found.pop(each.item.token, 0) == len(each.settlements) for each in many]


def _write(connection: sa.Connection, many: Sequence[ItemSettlement]) -> None:
    new: list[dict[str, object]] = []
    history: list[dict[str, object]] = []
    due: list[tuple[str, float]] = []
    ended: dict[str, float] = {}
    for each in many:
        for settlement in each.settlements:
            new.append(_settled(settlement, each.end))
            history += _attempted(settlement, each.at, each.seconds)
            if settlement.state == QUEUED:
                due.append((each.item.destination, _due(settlement)))
            else:
                ended[each.item.message.id] = each.end
    connection.execute(_SETTLE, new)
    if history:
        connection.execute(_HISTORY, history)
    if due:
        offer(connection, due)
    if ended:
        at_end(connection, _Ended).at.update(ended)


def release(connection: sa.Connection, item: QueuedItem, due: float | None) -> bool:
    """See L{mailagent.queue.store.Store.release}."""
    if not _hold_fast(connection, item, item.recipients):
        return False
    changes: dict[str, object] = {"lease_node": None, "lease_token": None}
    if due is not None:
        changes["due"] = due
    ids = [recipient.id for recipient in item.recipients]
    connection.execute(sa.update(recipients).where(recipients.c.id.in_(ids)).values(changes))
    offer(connection, ((item.destination, each.due if due is None else due) for each in item.recipients))
    return True


@attrs.define
class _Ended:
    """Messages of which recipients came to their end in a transaction, and when."""

    turn: ClassVar[int] = 0
    at: dict[str, float] = attrs.field(factory=dict)

    def write(self, connection: sa.Connection) -> None:
        """Drop the content of those whose last recipient it was."""
        if connection.dialect.name == "postgresql":  # else two nodes that end the last two would miss each other
            connection.execute(_LOCK, {"ids": list(self.at)})
        ended = connection.execute(_RETIRE, {"ids": list(self.at), "now": max(self.at.values())}).all()
        if large := [row.id for row in ended if row.chunks]:
            connection.execute(_DROP, {"ids": large})


def retire(connection: sa.Connection, message_ids: Collection[str], now: float) -> None:
    """Drop the content of those messages of which no recipient needs it any more; their history stays for a while."""
    at_end(connection, _Ended).at.update(dict.fromkeys(message_ids, now))


def _due(settlement: Settlement) -> float:
    return settlement.recipient.due if settlement.due is None else settlement.due


def _settled(settlement: Settlement, end: float) -> dict[str, object]:
    """A recipient's new columns."""
    recipient, outcome = settlement.recipient, settlement.outcome
    reply = (recipient.reply if outcome is None else outcome.reply) or Reply(0)
    return {
        "recipient": recipient.id,
        "new_state": settlement.state,
        "new_attempts": recipient.attempts + (outcome is not None),
        "new_due": _due(settlement),
        "new_delay_told": recipient.delay_told or settlement.delay_told,
        "new_finished": None if settlement.state == QUEUED else end,
        "new_reply_code": reply.code or None,
        "new_reply_status": storable(reply.status),
        "new_reply_text": storable(reply.text),
        "new_host": recipient.host if outcome is None else storable(outcome.hop.host),
    }


def _attempted(settlement: Settlement, at: float, seconds: float) -> list[dict[str, object]]:
    """The line of history, if there was an attempt."""
    outcome = settlement.outcome
    if outcome is None:
        return []
    return [
        {
            "recipient_id": settlement.recipient.id,
            "at": at,
            "seconds": seconds,
            "host": storable(outcome.hop.host),
            "address": storable(outcome.hop.address),
            "tls": storable(outcome.hop.tls),
            "code": outcome.reply.code,
            "status": storable(outcome.reply.status),
            "text": storable(outcome.reply.text),
        }
    ]
