"""What the queue gives out to be delivered, and what it takes back: values, as they were in the database."""

from __future__ import annotations

import attrs

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import UNASKED, Notify
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply

#: What a recipient can have come to. The first two are not the end.
QUEUED, HELD = "queued", "held"
DELIVERED, FAILED, EXPIRED, DROPPED = "delivered", "failed", "expired", "dropped"
#: A row that cannot be read, set aside with all it needs, for a person to look at.
QUARANTINED = "quarantined"
#: States that still need the message's content.
UNFINISHED = (QUEUED, HELD, QUARANTINED)


@attrs.frozen
class StoredMessage:
    """A message in the queue, without its content if that is not small.

    See L{mailagent.envelope.queued} for what is not said here.

    @ivar created: when it was accepted, in seconds since the epoch.
    @ivar envelope: without recipients.
    @ivar header: fields that go ahead of the content.
    @ivar chunks: how many rows its content has; 0 where it is small, and stands in the message's own row.
    @ivar body: all of its content, if that is very small; else it is read when it is wanted.
    """

    id: str
    created: float
    envelope: Envelope
    header: bytes
    chunks: int
    report_to: Address | None
    login: str = ""
    body: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class QueuedRecipient:
    """One recipient of a message in the queue.

    @ivar attempts: how many there have been.
    @ivar due: when the next one is, in seconds since the epoch.
    @ivar delay_told: the time to tell of delay has come, and it was told where it was to be.
    @ivar reply: what the last attempt came to; C{None} before the first.
    @ivar host: whose reply that was; C{""} for our own.
    """

    id: int
    address: Address
    notify: Notify = UNASKED
    attempts: int = 0
    due: float = 0.0
    delay_told: bool = False
    reply: Reply | None = None
    host: str = ""


@attrs.frozen
class QueuedItem:
    """One message with some of its recipients, at most 100, all at one destination: leased to us.

    @ivar token: the lease. Another one, and the recipients are no longer ours.
    @ivar urgent: see L{mailagent.interfaces.Attempt}.
    """

    message: StoredMessage
    destination: str
    recipients: tuple[QueuedRecipient, ...]
    token: str
    urgent: bool = False

    def envelope(self) -> Envelope:
        """The envelope of an attempt."""
        return attrs.evolve(
            self.message.envelope,
            recipients=tuple(recipient.address for recipient in self.recipients),
            notify={recipient.address: recipient.notify for recipient in self.recipients},
        )


@attrs.frozen
class Settlement:
    """What becomes of one recipient.

    @ivar outcome: the attempt's; C{None} where nothing was tried, and history gets no line: the recipient is told of
        a delay, or given up with its last reply.
    @ivar state: L{QUEUED}, with C{due}, or what it ends as.
    @ivar due: when to try again; C{None} leaves it as it is.
    """

    recipient: QueuedRecipient
    outcome: Outcome | None
    state: str
    due: float | None = None
    delay_told: bool = False
