"""The content of one message, and the C{IMessage}s by which a session hands it over."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailagent.envelope.trace import FIRST_LINE_LIMIT, begins_with_field
from mailagent.interfaces import IContentSink, IStagedBody, IStreamedMessage
from mailagent.reception.header_scan import HeaderScan
from mailagent.reception.recipient import Recipient


class OpenTransaction(Protocol):
    """What a message needs of its transaction."""

    @property
    def given_header(self) -> bytes:
        """The C{Received} field a stock session was given to send ahead; C{b""} where none was."""

    def message_complete(self, message: RecipientMessage) -> Deferred[str]:
        """One recipient's message is complete."""

    def abandon(self) -> None:
        """Store nothing."""


@implementer(IContentSink)
class ContentSink:
    """Passes the content on to the staged C{body} and remembers how it began.

    @ivar header: is shown the content where it matters what the header has, else C{None}.
    @ivar eight_bit: whether an octet above 127 came by, where there is a C{header} to look.
    """

    def __init__(self, body: IStagedBody, header: HeaderScan | None = None) -> None:
        self.body = body
        self.header = header
        self.eight_bit = False
        self._opening = b""

    def write(self, content: bytes) -> Deferred[None] | None:
        """See L{IContentSink}."""
        if len(self._opening) < FIRST_LINE_LIMIT:
            self._opening += content[: FIRST_LINE_LIMIT - len(self._opening)]
        if self.header is not None:
            self.header.feed(content)
            self.eight_bit = self.eight_bit or not content.isascii()
        wait: Deferred[None] | None = self.body.write(content)
        return wait

    @property
    def has_header(self) -> bool:
        """Whether the message begins with a header field. Known once its first line is in."""
        return begins_with_field(self._opening)


@implementer(IStreamedMessage)
class RecipientMessage:
    """One recipient's C{IMessage}. All of a transaction share its content, which the first one carries.

    A session that knows L{IStreamedMessage} feeds C{sink}; a stock one calls C{lineReceived} on every message,
    and only the first one's lines are taken.
    """

    def __init__(
        self,
        transaction: OpenTransaction,
        sink: ContentSink,
        recipient: Recipient,
        first: bool,
    ) -> None:
        self.sink = sink
        self.recipient = recipient
        self._transaction = transaction
        self._first = first
        self._expects_trace_header = True

    def lineReceived(self, line: bytes) -> None:
        """Take a line (without line end) from a stock session, which sends the C{Received} field ahead of them."""
        if self._expects_trace_header:
            self._expects_trace_header = False
            if line == self._transaction.given_header:
                return
        if self._first:
            self.sink.write(line + b"\n")

    def eomReceived(self) -> Deferred[str]:
        """The content is complete.

        @return: fires, once the whole transaction is committed, with the text of the reply; or fails with
            C{SMTPServerError}.
        """
        return self._transaction.message_complete(self)

    def connectionLost(self) -> None:
        """The content will not be complete: nothing is stored for anybody."""
        self._transaction.abandon()
