"""Whom a report tells what: RFC 3461 section 5, as far as it is a matter of values.

Only who asked for it hears of success. Of failure and delay hears who asked, or said nothing. Nobody is written to
for a message whose C{report_to} is C{None}. A message with the null reverse-path is itself a report, or something that
wants none: only its failure is told, to whom C{report_to} names (the postmaster), and nobody hears of that one's.
Whoever else C{report_to} names, the owner of an alias, hears of each failure, whatever the sender asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from mailagent.envelope.reply import Reply
from mailagent.queue.items import DELIVERED, EXPIRED, FAILED, QUEUED, QueuedRecipient, Settlement, StoredMessage

#: Delivery time expired (RFC 3463 section 3.5).
_TIME_EXPIRED = "4.4.7"
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


@attrs.frozen
class Notification:
    """What is told of one recipient (RFC 3464 section 2.3).

    @ivar action: C{"failed"}, C{"delayed"}, C{"delivered"}, C{"relayed"} or C{"expanded"}.
    @ivar status: the enhanced status code.
    @ivar reply: the last one; C{None} where nothing was tried.
    @ivar host: whose reply that was; C{""} for our own.
    @ivar tried: when the last attempt was, if that is known; in seconds since the epoch.
    @ivar until: how long it will be tried, where it will.
    """

    recipient: QueuedRecipient
    action: str
    status: str
    reply: Reply | None = None
    host: str = ""
    tried: float | None = None
    until: float | None = None


def notifications(
    message: StoredMessage, settlements: Sequence[Settlement], tried: float, give_up: float
) -> tuple[Notification, ...]:
    """What is to be told of these settlements of a message, to its C{report_to}; all in one report.

    @param tried: when the attempt was, for those that had one.
    @param give_up: seconds for which a message is tried.
    """
    if message.report_to is None:
        return ()
    until = message.created + give_up
    null = message.envelope.reverse_path is None
    owned = message.report_to != message.envelope.reverse_path
    found = []
    for settlement in settlements:
        condition, action = _condition(settlement)
        asked = settlement.recipient.notify.asks_for(condition) or (condition == "FAILURE" and owned)
        if action and asked and (condition == "FAILURE" or not null):
            found.append(_notification(settlement, action, tried, until))
    return tuple(found)


def _condition(settlement: Settlement) -> tuple[str, str]:
    """The condition of NOTIFY under which a settlement is told, and the action to tell; C{""} for none."""
    if settlement.state in (FAILED, EXPIRED):
        return "FAILURE", "failed"
    if settlement.state == QUEUED and settlement.delay_told:
        return "DELAY", "delayed"
    if settlement.state == DELIVERED and settlement.outcome is not None:
        return "SUCCESS", settlement.outcome.notice
    return "", ""


def _notification(settlement: Settlement, action: str, tried: float, until: float) -> Notification:
    recipient, outcome = settlement.recipient, settlement.outcome
    reply, host = (recipient.reply, recipient.host) if outcome is None else (outcome.reply, outcome.hop.host)
    return Notification(
        recipient,
        action,
        _TIME_EXPIRED if settlement.state == EXPIRED else _status(action, reply),
        reply,
        host,
        None if outcome is None else tried,
        until if action == "delayed" else None,
    )


def _status(action: str, reply: Reply | None) -> str:
    """A status whose class is the action's (RFC 3464 section 2.3.4), with the reply's detail where that fits."""
    kind = {"failed": "5", "delayed": "4"}.get(action, "2")
    status = "" if reply is None or not _STATUS.fullmatch(reply.status) else reply.status
    return status if status.startswith(kind) else f"{kind}.0.0"
