"""What follows from outcomes."""

from __future__ import annotations

import pytest

from mailagent.config.outbound import QueueSettings
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.reply import Reply
from mailagent.queue.items import QueuedItem, QueuedRecipient, StoredMessage
from mailagent.queue.verdict import judged, overdue
from tests.queue.support import ANN, LATER, NEVER, NOW, STORED, outcome

SETTINGS = QueueSettings()
MESSAGE = StoredMessage("m1", NOW, Envelope(ANN, ()), b"", 0, ANN)
RECIPIENTS = tuple(QueuedRecipient(number, Address(f"user{number}", "there.example"), attempts=1) for number in (1, 2))
ITEM = QueuedItem(MESSAGE, "there.example", RECIPIENTS, "token")


def judge(*replies: Reply, age: float = 100.0, chance: float = 0.5) -> list[tuple[str, float | None]]:
    outcomes = [outcome(recipient, reply) for recipient, reply in zip(RECIPIENTS, replies, strict=False)]
    return [(each.state, each.due) for each in judged(ITEM, outcomes, NOW + age, SETTINGS, chance)]


def test_what_was_taken_or_refused_has_ended() -> None:
    assert judge(STORED, NEVER) == [("delivered", None), ("failed", None)]


def test_what_was_deferred_together_is_due_together() -> None:
    one, other = judge(LATER, LATER, chance=1.0)
    assert one == other
    assert one[1] == pytest.approx(NOW + 100 + 660)


def test_what_is_deferred_when_its_time_is_over_has_expired() -> None:
    assert judge(LATER, NEVER, age=SETTINGS.give_up) == [("expired", None), ("failed", None)]
    assert judge(LATER, LATER, age=SETTINGS.give_up - 1)[0][0] == "queued"


def test_an_outcome_for_each_recipient_is_needed() -> None:
    with pytest.raises(ValueError, match="argument"):
        judge(STORED)


def test_what_waits_too_long_is_told_of_and_then_given_up() -> None:
    [late, _] = overdue(ITEM, NOW + SETTINGS.delay_notice, SETTINGS)
    assert (late.state, late.outcome, late.due, late.delay_told) == ("queued", None, None, True)
    [gone, _] = overdue(ITEM, NOW + SETTINGS.give_up, SETTINGS)
    assert (gone.state, gone.outcome) == ("expired", None)
