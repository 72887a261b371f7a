"""What the tests of this room share: messages, and outcomes."""

from __future__ import annotations

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import DELIVERED, QUEUED, QueuedItem, QueuedRecipient, Settlement

ANN = Address("ann", "example.org")
NOW = 1_800_000_000.0
STORED = Reply(250, "2.0.0", "stored")
LATER = Reply(451, "4.3.0", "later")
NEVER = Reply(550, "5.1.1", "nobody")
HOP = Hop("mx.there.example", "192.0.2.1", "TLS 1.3")


def address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


def message(id_: str, *to: str, notify: dict[Address, Notify] | None = None) -> QueuedMessage:
    """A message from L{ANN}."""
    envelope = Envelope(ANN, tuple(map(address, to)), size=10, notify=notify or {})
    return QueuedMessage(id_, envelope, b"Received: here\n", ANN, "ann")


def outcome(recipient: QueuedRecipient, reply: Reply) -> Outcome:
    return Outcome(recipient.address, reply, HOP)


def all_as(item: QueuedItem, reply: Reply, state: str = DELIVERED, due: float | None = None) -> list[Settlement]:
    """The same for each of an item's recipients."""
    return [Settlement(each, outcome(each, reply), state, due) for each in item.recipients]


def deferred(item: QueuedItem, due: float) -> list[Settlement]:
    return all_as(item, LATER, QUEUED, due)


def names(items: list[QueuedItem]) -> list[tuple[str, list[str]]]:
    """Which messages, to whom."""
    return [(item.message.id, [str(each.address) for each in item.recipients]) for item in items]
