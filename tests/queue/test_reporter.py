"""How much of a message is read for a report of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from random import Random

import attrs
import pytest
from twisted.internet.defer import Deferred

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import DELIVERED, FAILED, QueuedRecipient, Settlement, StoredMessage
from mailagent.queue.queue import ContentLost
from mailagent.queue.reporter import Reporter
from tests.deferreds import result
from tests.queue.support import ANN, NEVER, NOW, STORED, outcome

BOB = QueuedRecipient(1, Address("bob", "there.example"), Notify(frozenset({"SUCCESS", "FAILURE"})))
MESSAGE = StoredMessage("m1", NOW, Envelope(ANN, ()), b"Received: here\n", 0, ANN)


def content(message: StoredMessage) -> Callable[[], AsyncIterator[bytes]]:
    async def pieces() -> AsyncIterator[bytes]:
        yield message.header
        yield b"Subject: hello\n\nthe body\n"

    return pieces


def lost(message: StoredMessage) -> Callable[[], AsyncIterator[bytes]]:
    async def pieces() -> AsyncIterator[bytes]:
        yield message.header
        raise ContentLost("piece 0")

    return pieces


def settled(reply: Reply) -> Settlement:
    return Settlement(BOB, attrs.evolve(outcome(BOB, reply), notice="relayed"), DELIVERED if reply.positive else FAILED)


def reports(
    reply: Reply,
    returned: str | None = None,
    report_to: Address | None = ANN,
    content: object = content,
    message: StoredMessage | None = None,
) -> list[tuple[QueuedMessage, bytes]]:
    message = message or attrs.evolve(MESSAGE, envelope=Envelope(ANN, (), returned=returned), report_to=report_to)
    reporter = Reporter(content, "mx.example.org", lambda: NOW + 5, Random(1))  # type: ignore[arg-type]
    return result(Deferred.fromCoroutine(reporter.reports(message, [settled(reply)], NOW, 1000.0)))


@pytest.mark.parametrize(
    ("reply", "returned", "whole"),
    [
        (NEVER, "FULL", True),
        (NEVER, "HDRS", False),
        (NEVER, None, False),
        (STORED, "FULL", False),
    ],
)
def test_the_whole_message_goes_back_with_a_failure_where_that_was_asked_for(
    reply: Reply, returned: str | None, whole: bool
) -> None:
    [(_, octets)] = reports(reply, returned)
    assert b"Received: here\nSubject: hello\n" in octets
    assert (b"the body" in octets) == whole


def test_where_nobody_is_told_nothing_is_read() -> None:
    assert reports(NEVER, report_to=None, content=None) == []


def test_of_lost_content_our_own_fields_go_back() -> None:
    [(_, octets)] = reports(NEVER, "FULL", content=lost)
    assert b"\n\nReceived: here\n\n--" in octets


def test_each_report_has_its_own_id() -> None:
    [(message, octets)] = reports(NEVER)
    assert len(message.id) == 17
    assert f"Message-ID: <{message.id}@mx.example.org>\n".encode() in octets


def test_of_a_message_that_wanted_tls_the_content_does_not_come_back() -> None:
    envelope = Envelope(ANN, (), returned="FULL", require_tls=True)
    [(report, octets)] = reports(NEVER, message=attrs.evolve(MESSAGE, envelope=envelope))
    assert b"the body" not in octets
    assert b"Subject: hello" in octets
    assert report.envelope.require_tls
