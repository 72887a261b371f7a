"""Handing a message over: who is decided, and who is not."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply
from mailagent.sendmail.submit import Submitted, submit

ANN, BOB, CAT = (Address(name, "a.example") for name in ("ann", "bob", "cat"))
ENVELOPE = Envelope(None, (ANN, BOB, CAT))


def outcome(recipient: Address, code: int) -> Outcome:
    return Outcome(recipient, Reply(code))


def test_who_is_deferred_is_undecided_and_others_are_not() -> None:
    submitted = Submitted((outcome(ANN, 250), outcome(BOB, 451), outcome(CAT, 550)))
    rest = submitted.undecided(ENVELOPE)
    assert rest is not None
    assert rest.recipients == (BOB,)
    assert [each.recipient for each in submitted.refused] == [CAT]


def test_where_the_server_could_not_be_asked_all_are_undecided() -> None:
    assert Submitted().undecided(ENVELOPE) == ENVELOPE


def test_where_all_are_decided_nothing_is_left() -> None:
    assert Submitted(tuple(outcome(each, 250) for each in ENVELOPE.recipients)).undecided(ENVELOPE) is None


@implementer(IStreamClientEndpoint)
class Closed:
    """Nobody listens."""

    def connect(self, factory: object) -> Deferred[Any]:
        return fail(ConnectionRefusedError())


def test_no_connection_is_trouble_and_no_failure() -> None:
    message: Any = None  # which nobody asks for
    done: list[Submitted] = []
    Deferred.fromCoroutine(submit(Closed, Clock(), "here", ENVELOPE, message)).addCallback(done.append)
    assert done[0].trouble.startswith("cannot connect")
    assert done[0].undecided(ENVELOPE) == ENVELOPE
