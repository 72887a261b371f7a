"""From the queue into mailboxes."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailagent.directory.stored import UnknownDirectory
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.forward import Forward
from mailagent.envelope.notify import Notify
from mailagent.envelope.outcome import Outcome
from mailagent.interfaces import Attempt, Attempted, DestinationBusy, ICourier, IDirectory, LeaseLost, StorageFull
from mailagent.reception.local_courier import LocalCourier, LocalFirst
from tests.memory_server import MemoryQueue, MemoryServer

PIECES = (b"Subject: x\n\n", b"hi\n")
SENDER = Address("me", "client.example")


def attempt(
    *recipients: str,
    sender: Address | None = SENDER,
    ours: bool = True,
    pieces: tuple[bytes, ...] = PIECES,
    **more: Any,
) -> Attempt:
    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    addresses = tuple(Address(*recipient.split("@")) for recipient in recipients)
    return Attempt("old", Envelope(sender, addresses, **more), addresses[0].host, "ann", content, lambda: succeed(ours))


class Site:
    """A courier and what it delivers to."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.queue = MemoryQueue()
        numbers = count(1)
        self.courier = LocalCourier(
            self.server.directory, self.server.mailstore, self.queue, lambda: f"id{next(numbers)}"
        )

    def outcomes(self, tried: Attempt) -> list[str]:
        """What comes of an attempt, for each recipient: the reply's beginning, and the notice."""
        return [f"{each.reply.code} {each.reply.status} {each.notice}".strip() for each in self.attempted(tried)]

    def attempted(self, tried: Attempt) -> tuple[Outcome, ...]:
        found: list[Attempted] = []
        self.courier.deliver(tried).addCallback(found.append)
        return found[0].outcomes


def test_they_are_couriers() -> None:
    site = Site()
    verifyObject(ICourier, site.courier)
    verifyObject(ICourier, LocalFirst(site.server.directory, site.courier, site.courier))


def test_a_message_goes_into_the_mailbox_as_any_does() -> None:
    site = Site()
    assert site.outcomes(attempt("User1+x@hostmeister.de")) == ["250 2.1.5 delivered"]
    assert site.server.stored("user1") == [
        b"Return-Path: <me@client.example>\nDelivered-To: user1@hostmeister.de\n"
        b"X-Original-To: User1+x@hostmeister.de\nSubject: x\n\nhi\n"
    ]


def test_each_recipient_has_an_outcome_of_its_own() -> None:
    site = Site()
    site.server.files.fail(errno.EROFS, path="/mail/user2")
    tried = attempt("user2@hostmeister.de", "nobody@hostmeister.de", "user1@hostmeister.de")
    assert site.outcomes(tried) == ["451 4.2.0", "550 5.1.1", "250 2.1.5 delivered"]
    site.server.files.heal()
    site.server.files.fail(errno.ENOSPC)
    assert site.outcomes(attempt("user1@hostmeister.de")) == ["452 4.3.1"]
    assert site.server.files.descriptors == []


def test_what_an_alias_forwards_is_queued_in_the_same_commit() -> None:
    site = Site()
    wishes = {Address("team", "example.org"): Notify(frozenset({"SUCCESS", "FAILURE"}))}
    assert site.outcomes(attempt("team@example.org", notify=wishes, utf8_header=True)) == ["250 2.1.5 expanded"]
    ((message, content),) = site.queue.messages
    assert (message.id, message.login, message.header) == ("id1", "ann", b"Delivered-To: team@example.org\n")
    assert message.report_to == Address("owner-team", "example.org")
    assert content == b"".join(PIECES)
    assert message.envelope.size == len(message.header) + len(content)
    assert message.envelope.utf8_header
    assert {each.conditions for each in message.envelope.notify.values()} == {frozenset({"FAILURE"})}
    assert len(site.server.stored("example.org", "ann")) == 1


def test_of_a_report_that_is_forwarded_nobody_is_told_and_a_loop_ends() -> None:
    site = Site()
    site.outcomes(attempt("abroad@example.org", sender=None))
    assert site.queue.messages[0][0].report_to is None
    looping = attempt("abroad@example.org", pieces=(b"Delivered-To: abroad@example.org\n", *PIECES))
    assert site.outcomes(looping) == ["554 5.4.6"]


def test_a_queue_in_trouble_takes_the_copies_back() -> None:
    site = Site()
    site.queue.trouble = StorageFull()
    assert site.outcomes(attempt("team@example.org", "ann@example.org")) == ["452 4.3.1", "250 2.1.5 delivered"]
    assert site.server.all_stored == 1


def test_a_lost_lease_stores_nothing() -> None:
    site = Site()
    failures: list[Any] = []
    site.courier.deliver(attempt("user1@hostmeister.de", ours=False)).addErrback(failures.append)
    assert failures[0].check(LeaseLost)
    assert site.server.all_stored == 0
    assert site.server.files.descriptors == []


def test_a_host_that_is_ours_no_more_is_tried_again() -> None:
    assert Site().outcomes(attempt("a@elsewhere.example")) == ["451 4.3.5"]


@implementer(ICourier)
class Elsewhere:
    """A courier that counts."""

    def __init__(self) -> None:
        self.attempts = 0

    def deliver(self, attempt: Attempt) -> Deferred[Attempted]:
        self.attempts += 1
        return succeed(Attempted(()))


@pytest.mark.parametrize(
    ("recipient", "remote"),
    [("user1@hostmeister.de", 0), ("nobody@hostmeister.de", 0), ("user1@elsewhere.example", 1)],
)
def test_what_is_ours_never_leaves(recipient: str, remote: int) -> None:
    site, elsewhere = Site(), Elsewhere()
    LocalFirst(site.server.directory, site.courier, elsewhere).deliver(attempt(recipient))
    assert elsewhere.attempts == remote


@pytest.mark.parametrize("recipient", ["user1@hostmeister.de", "user1@elsewhere.example"])
def test_while_nobody_is_known_nothing_is_tried(recipient: str) -> None:
    site, elsewhere, failures = Site(), Elsewhere(), list[Any]()
    LocalFirst(UnknownDirectory(), site.courier, elsewhere).deliver(attempt(recipient)).addErrback(failures.append)
    assert failures[0].check(DestinationBusy)
    assert (site.server.all_stored, elsewhere.attempts) == (0, 0)


@implementer(IDirectory)
class HandedOver:
    """A directory whose user1 is kept by another server, and stands behind every other name."""

    def resolve(self, recipient: Address) -> tuple[Forward, ...]:
        user1 = Address("user1", recipient.domain)
        return (Forward(user1, user1, Address("postmaster", recipient.domain)),)

    def mailboxes(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("recipients", "remote"),
    [(["user1@a.example"], 1), (["sales@a.example"], 0), (["user1@a.example", "x@a.example"], 0)],
)
def test_a_user_whom_another_server_keeps_is_delivered_there_and_only_by_the_own_name(
    recipients: list[str], remote: int
) -> None:
    site, elsewhere = Site(), Elsewhere()
    courier = LocalCourier(HandedOver(), site.server.mailstore, site.queue, lambda: "id")
    LocalFirst(HandedOver(), courier, elsewhere).deliver(attempt(*recipients))
    assert elsewhere.attempts == remote
    queued = [str(each) for message, _ in site.queue.messages for each in message.envelope.recipients]
    assert queued == ["user1@a.example"] * (0 if remote else len(recipients))
