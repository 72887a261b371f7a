"""Writing down what came of an attempt, all of it or nothing, and only where the lease is still ours."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from mailagent.database.schema import attempts, chunks, messages, recipients
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import QUEUED, UNFINISHED, QueuedItem, QueuedRecipient, Settlement
from mailagent.queue.store_destinations import offer
from mailagent.queue.store_insert import insert
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
_HISTORY = sa.insert(attempts)
_UNFINISHED = (
    sa.select(recipients.c.id)
    .where(recipients.c.message_id == sa.bindparam("message"), recipients.c.state.in_(UNFINISHED))
    .limit(1)
)
_RETIRE = (
    sa.update(messages).where(messages.c.id == sa.bindparam("message")).values(finished=sa.bindparam("now"), body=None)
)
_DROP = sa.delete(chunks).where(chunks.c.message_id == sa.bindparam("message"))


def still_leased(connection: sa.Connection, item: QueuedItem) -> bool:
    """Whether an item's recipients are all still leased under its token. Writes, and locks, nothing."""
    return len(connection.scalars(_LEASED, _lease(item, item.recipients)).all()) == len(item.recipients)


def _lease(item: QueuedItem, some: Sequence[QueuedRecipient]) -> dict[str, object]:
    return {"ids": [recipient.id for recipient in some], "token": item.token}


def _hold_fast(connection: sa.Connection, item: QueuedItem, some: Sequence[QueuedRecipient]) -> bool:
    """Whether the lease of C{some} of an item's recipients is ours, and stays so in this transaction."""
    return len(connection.scalars(_HELD_FAST, _lease(item, some)).all()) == len(some)


def settle(
    connection: sa.Connection,
    item: QueuedItem,
    settlements: Sequence[Settlement],
    reports: Sequence[tuple[QueuedMessage, bytes]],
    at: float,
    seconds: float,
) -> bool:
    """See L{mailagent.queue.store.Store.settle}."""
    if not _hold_fast(connection, item, [settlement.recipient for settlement in settlements]):
        return False
    end = at + seconds
    connection.execute(_SETTLE, [_settled(settlement, end) for settlement in settlements])
    history = [line for settlement in settlements for line in _attempted(settlement, at, seconds)]
    if history:
        connection.execute(_HISTORY, history)
    due = [_due(settlement) for settlement in settlements if settlement.state == QUEUED]
    if due:
        offer(connection, {item.destination: min(due)})
    for message, body in reports:
        insert(connection, [message], body, 0, end)
    if len(due) < len(settlements):
        retire(connection, item.message.id, end)
    return True


def release(connection: sa.Connection, item: QueuedItem, due: float | None) -> bool:
    """See L{mailagent.queue.store.Store.release}."""
    if not _hold_fast(connection, item, item.recipients):
        return False
    changes: dict[str, object] = {"lease_node": None, "lease_token": None}
    if due is not None:
        changes["due"] = due
    ids = [recipient.id for recipient in item.recipients]
    connection.execute(sa.update(recipients).where(recipients.c.id.in_(ids)).values(changes))
    offer(connection, {item.destination: min(each.due for each in item.recipients) if due is None else due})
    return True


def retire(connection: sa.Connection, message_id: str, now: float) -> None:
    """Drop a message's content if none of its recipients needs it any more; its history stays for a while."""
    if connection.scalar(_UNFINISHED, {"message": message_id}) is None:
        connection.execute(_RETIRE, {"message": message_id, "now": now})
        connection.execute(_DROP, {"message": message_id})


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
