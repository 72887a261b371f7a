"""The recipients of a message that are committed together, and what they are answered."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.envelope.reply import Reply
from mailagent.interfaces import MailboxUnwritable, StorageFull
from mailagent.reception.recipient import Recipient
from mailagent.smtp.replies import LOCAL_ERROR

NO_SUCH_USER = Reply(550, "5.1.1", "No such user here")
UNWRITABLE = Reply(451, "4.2.0", "Mailbox not available now, try again later")
FULL = Reply(452, "4.3.1", "No space for the message now, try again later")
LOOP = Reply(554, "5.4.6", "Forwarded by us before: the message is going in a circle")


class MessageLoop(Exception):
    """The message has been forwarded by one of these aliases before."""


@attrs.frozen
class Part:
    """The recipients of a message that are committed together.

    @ivar id: of the copies' files, and of what is queued first.
    @ivar outcomes: theirs, all one.
    """

    id: str
    recipients: list[Recipient]
    outcomes: list[Deferred[str]]
    sender: str

    @property
    def _facts(self) -> dict[str, Any]:
        return {"id": self.id, "sender": self.sender, "recipients": [str(each.address) for each in self.recipients]}

    def succeeded(self, log: Logger, size: int, seconds: float) -> None:
        """They are stored."""
        events.MESSAGE_STORED(log, **self._facts, size=size, seconds=seconds)
        for outcome in self.outcomes:
            outcome.callback(f"Stored as {self.id}")

    def failed(self, log: Logger, why: Failure) -> None:
        """They are not."""
        events.MESSAGE_FAILED(log, **self._facts, reason=str(why.value) or repr(why.value))
        fail(self.outcomes, reply_to(why))


def text_of(reply: Reply) -> str:
    """A reply as a C{SMTPServerError} has it."""
    return f"{reply.status} {reply.text}"


def reply_to(why: Failure) -> Reply:
    """What a commit that failed is answered with: 4yz, for it is our trouble, but for a loop."""
    if why.check(MessageLoop):
        return LOOP
    if why.check(StorageFull):
        return FULL
    return UNWRITABLE if why.check(MailboxUnwritable) else LOCAL_ERROR


def fail(outcomes: list[Deferred[str]], reply: Reply) -> None:
    """Refuse."""
    for outcome in outcomes:
        outcome.errback(smtp.SMTPServerError(reply.code, text_of(reply)))
