"""What follows from the outcomes of an attempt, or from none for too long."""

from __future__ import annotations

from collections.abc import Sequence

from mailagent.config.outbound import QueueSettings
from mailagent.envelope.outcome import Outcome
from mailagent.queue.items import DELIVERED, EXPIRED, FAILED, QUEUED, QueuedItem, QueuedRecipient, Settlement
from mailagent.queue.retry import expired, wait


def judged(
    item: QueuedItem, outcomes: Sequence[Outcome], now: float, settings: QueueSettings, chance: float
) -> list[Settlement]:
    """What becomes of each recipient after an attempt.

    @param outcomes: one for each, in their order.
    @param chance: random, from 0 to 1; one for all, so that recipients deferred together are tried together.
    @raise ValueError: there are more or fewer.
    """

    def judge(recipient: QueuedRecipient, outcome: Outcome) -> Settlement:
        if outcome.delivered:
            return Settlement(recipient, outcome, DELIVERED)
        if outcome.failed:
            return Settlement(recipient, outcome, FAILED)
        if expired(item.message.created, now, settings.give_up):
            return Settlement(recipient, outcome, EXPIRED)
        due = now + wait(recipient.attempts, settings.retry_first, settings.retry_most, chance)
        return Settlement(recipient, outcome, QUEUED, due)

    return [judge(recipient, outcome) for recipient, outcome in zip(item.recipients, outcomes, strict=True)]


def overdue(item: QueuedItem, now: float, settings: QueueSettings) -> list[Settlement]:
    """What becomes of recipients that have waited too long, as nothing was tried: given up, or told of the delay."""
    if expired(item.message.created, now, settings.give_up):
        return [Settlement(recipient, None, EXPIRED) for recipient in item.recipients]
    return [Settlement(recipient, None, QUEUED, delay_told=True) for recipient in item.recipients]
