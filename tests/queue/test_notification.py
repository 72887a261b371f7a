"""Who hears what: the table of RFC 3461 section 5, and those who are never written to."""

from __future__ import annotations

import attrs
import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.reply import Reply
from mailagent.queue.items import DELIVERED, EXPIRED, FAILED, QUEUED, QueuedRecipient, Settlement, StoredMessage
from mailagent.queue.notification import notifications
from tests.queue.support import ANN, LATER, NEVER, NOW, STORED

BOB = Address("bob", "there.example")
MESSAGE = StoredMessage("m1", NOW, Envelope(ANN, ()), b"", 0, ANN)
BOUNCE = attrs.evolve(MESSAGE, envelope=Envelope(None, ()))
GIVE_UP = 1000.0

HOP = Hop("mx.there.example")


def settled(state: str, *conditions: str, notice: str = "relayed") -> Settlement:
    recipient = QueuedRecipient(1, BOB, Notify(frozenset(conditions)))
    reply = {DELIVERED: STORED, FAILED: NEVER}.get(state, LATER)
    return Settlement(recipient, Outcome(BOB, reply, HOP, notice), state)


def delayed(*conditions: str) -> Settlement:
    return Settlement(QueuedRecipient(1, BOB, Notify(frozenset(conditions))), None, QUEUED, delay_told=True)


def actions(message: StoredMessage, *settlements: Settlement) -> list[str]:
    return [each.action for each in notifications(message, settlements, NOW + 10, GIVE_UP)]


@pytest.mark.parametrize(
    ("conditions", "success", "failure", "delay"),
    [
        ((), False, True, True),
        (("NEVER",), False, False, False),
        (("SUCCESS",), True, False, False),
        (("FAILURE",), False, True, False),
        (("DELAY",), False, False, True),
        (("SUCCESS", "FAILURE"), True, True, False),
        (("SUCCESS", "DELAY"), True, False, True),
        (("FAILURE", "DELAY"), False, True, True),
        (("SUCCESS", "FAILURE", "DELAY"), True, True, True),
    ],
)
def test_a_sender_hears_what_it_asked_for(
    conditions: tuple[str, ...], success: bool, failure: bool, delay: bool
) -> None:
    assert actions(MESSAGE, settled(DELIVERED, *conditions)) == ["relayed"] * success
    assert actions(MESSAGE, settled(FAILED, *conditions)) == ["failed"] * failure
    assert actions(MESSAGE, settled(EXPIRED, *conditions)) == ["failed"] * failure
    assert actions(MESSAGE, delayed(*conditions)) == ["delayed"] * delay


def test_success_that_the_next_hop_tells_is_not_told() -> None:
    assert actions(MESSAGE, settled(DELIVERED, "SUCCESS", notice="")) == []


def test_a_deferral_is_not_told() -> None:
    assert actions(MESSAGE, settled(QUEUED, "SUCCESS", "FAILURE", "DELAY")) == []


def test_nobody_hears_where_nobody_is_to() -> None:
    silent = attrs.evolve(MESSAGE, report_to=None)
    everything = ("SUCCESS", "FAILURE", "DELAY")
    assert actions(silent, settled(FAILED, *everything), settled(DELIVERED, *everything), delayed(*everything)) == []


def test_of_a_report_only_its_failure_is_told() -> None:
    assert actions(BOUNCE, settled(FAILED), delayed(), settled(DELIVERED, "SUCCESS")) == ["failed"]


def test_a_failure_is_told_as_the_server_said_it() -> None:
    [told] = notifications(MESSAGE, [settled(FAILED)], NOW + 10, GIVE_UP)
    assert (told.status, told.reply, told.host, told.tried, told.until) == (
        "5.1.1",
        NEVER,
        "mx.there.example",
        NOW + 10,
        None,
    )


def test_giving_up_has_its_own_status_and_the_last_reply() -> None:
    [told] = notifications(MESSAGE, [settled(EXPIRED)], NOW + 10, GIVE_UP)
    assert (told.status, told.reply) == ("4.4.7", LATER)


def test_a_delay_says_what_was_last_heard_and_until_when_it_is_tried() -> None:
    recipient = QueuedRecipient(1, BOB, reply=LATER, host="mx.there.example")
    [told] = notifications(MESSAGE, [Settlement(recipient, None, QUEUED, delay_told=True)], NOW + 10, GIVE_UP)
    assert (told.status, told.reply, told.host) == ("4.3.0", LATER, "mx.there.example")
    assert (told.tried, told.until) == (None, NOW + GIVE_UP)


@pytest.mark.parametrize("status", ["", "4.1.1", "5.1", "5.1.1\nX: y", "5.1.1111"])
def test_a_status_that_does_not_fit_is_not_told(status: str) -> None:
    settlement = Settlement(QueuedRecipient(1, BOB), Outcome(BOB, Reply(550, status)), FAILED)
    [told] = notifications(MESSAGE, [settlement], NOW, GIVE_UP)
    assert told.status == "5.0.0"
