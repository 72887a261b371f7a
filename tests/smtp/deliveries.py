"""Deliveries a third party might write: against Twisted's interfaces alone, knowing nothing of mailagent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from zope.interface import implementer


@implementer(IMessageSMTP)
class PlainMessage:
    """Remembers its lines."""

    def __init__(self, outcome: Callable[[], Any] = lambda: succeed("thanks")) -> None:
        self.lines: list[bytes] = []
        self.lost = False
        self._outcome = outcome

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Any:
        return self._outcome()

    def connectionLost(self) -> None:
        self.lost = True


@implementer(IMessageDelivery)
class PlainDelivery:
    """Says yes, or what its test makes it say; remembers what it was asked.

    @ivar decide: called with C{"MAIL"} or C{"RCPT"} and the address; its result (or C{Deferred}) is waited for, and
        an exception is the refusal.
    """

    def __init__(self, decide: Callable[[str, str], Any] = lambda verb, address: None) -> None:
        self.decide = decide
        self.asked: list[tuple[str, str]] = []
        self.helo: tuple[bytes | None, bytes] = (None, b"")
        self.messages: list[PlainMessage] = []
        self.outcome: Callable[[], Any] = lambda: succeed("thanks")

    def validateFrom(self, helo: tuple[bytes | None, bytes], origin: smtp.Address) -> Any:
        self.helo = helo
        return self._answer("MAIL", str(origin), origin)

    def validateTo(self, user: smtp.User) -> Any:
        return self._answer("RCPT", str(user.dest), self._message)

    def receivedHeader(
        self, helo: tuple[bytes | None, bytes], origin: smtp.Address, recipients: list[smtp.User]
    ) -> bytes:
        return b"Received: for " + b", ".join(bytes(user.dest) for user in recipients)

    def _answer(self, verb: str, address: str, answer: Any) -> Any:
        self.asked.append((verb, address))
        decision = self.decide(verb, address)
        return decision.addCallback(lambda _: answer) if isinstance(decision, Deferred) else answer

    def _message(self) -> PlainMessage:
        self.messages.append(PlainMessage(self.outcome))
        return self.messages[-1]


@implementer(IMessageDeliveryFactory)
class PlainDeliveries:
    """Gives the same delivery to every MAIL."""

    def __init__(self, delivery: PlainDelivery) -> None:
        self.delivery = delivery

    def getMessageDelivery(self) -> PlainDelivery:
        return self.delivery
