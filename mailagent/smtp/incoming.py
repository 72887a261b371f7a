"""One message between C{354} and the reply to its end: content decoded once, offered to all its C{IMessage}s.

Messages that provide L{IStreamedMessage} share a sink and get chunks; plain ones get lines, as Twisted's own
server gives them. A fault in the content, an excess of size or a message's refusal is kept until the true end:
only then is it answered, so that the session stays in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.config import Limits
from mailagent.envelope.reply import Reply
from mailagent.interfaces import IStreamedMessage
from mailagent.smtp import replies
from mailagent.smtp.content import ChunkDecoder, ContentDecoder
from mailagent.smtp.header_watch import HeaderWatch
from mailagent.smtp.settled import settled


class IncomingMessage:
    """The content on its way in.

    @param messages: C{IMessage} providers, one a recipient.
    @param limits: how large the message and its header may be, and through how many hosts it may have come.
    @param decoder: of how the content comes, after DATA or in chunks.
    @param each: whether every message gets a reply of its own (RFC 2033 section 4.2), in their order.
    @ivar refusal: what the end of the content will be answered with, if something is wrong with it so far.
    """

    _log = Logger()

    def __init__(
        self,
        messages: Sequence[Any],
        limits: Limits,
        decoder: ContentDecoder | ChunkDecoder | None = None,
        each: bool = False,
    ) -> None:
        self._messages = list(messages)
        self._replies = len(messages) if each else 1
        self._limits = limits
        self._decoder = decoder or ContentDecoder()
        self._header = HeaderWatch()
        self.refusal: Reply | None = None
        streamed = [message for message in messages if IStreamedMessage.providedBy(message)]
        plain = [message for message in messages if not IStreamedMessage.providedBy(message)]
        self._sinks: list[Any] = list({id(message.sink): message.sink for message in streamed}.values())
        if plain:
            self._sinks.append(_LineFeeder(plain))

    def feed(self, octets: bytes) -> tuple[bytes | None, Deferred[Any] | None]:
        """Take the next octets off the wire.

        @return: C{None}, or, at the end, the octets after it; and C{None}, or a C{Deferred} to wait for before
            feeding more.
        """
        content, rest = self._decoder.feed(octets)
        return rest, self._take(content)

    def _take(self, content: bytes) -> Deferred[Any] | None:
        self._judge(content)
        waits = self._write(content) if content and self.refusal is None else []
        return DeferredList(waits) if waits else None

    def finish(self) -> Deferred[list[Reply]]:
        """Call C{eomReceived} on every message, or C{connectionLost} if the content was refused.

        @return: a C{Deferred} of the replies to the end of data. It does not fail.
        """
        self._take(self._decoder.end())
        if self.refusal is not None:
            self.abandon()
            return succeed([self.refusal] * self._replies)
        messages, self._messages = self._messages, []
        return settled([maybeDeferred(message.eomReceived) for message in messages]).addCallback(self._conclude)

    def abandon(self) -> None:
        """Tell every message that its content will not be complete. Safe to call again."""
        messages, self._messages, self._sinks = self._messages, [], []
        for message in messages:
            try:
                message.connectionLost()
            except Exception as error:
                events.ERROR(self._log, what="discarding a message", reason=repr(error))

    def _judge(self, content: bytes) -> None:
        self._header.feed(content)
        if self.refusal is None:
            self.refusal = self._fault()
        if self.refusal is not None:
            self.abandon()

    def _fault(self) -> Reply | None:
        if self._decoder.bare_line_end:
            return replies.BARE_LINE_END
        if self._decoder.size > self._limits.message_size:
            return replies.TOO_LARGE
        if self._header.total > self._limits.header_size:
            return replies.HEADER_TOO_LARGE
        return replies.TOO_MANY_HOPS if self._header.hops > self._limits.hops else None

    def _write(self, content: bytes) -> list[Deferred[Any]]:
        waits = []
        for sink in self._sinks:
            try:
                wait = sink.write(content)
            except Exception:
                self._refuse(Failure())
                return []
            if wait is not None:
                waits.append(wait)
        return waits

    def _refuse(self, failure: Failure) -> None:
        self.refusal = self._reply_for(failure)
        self.abandon()

    def _reply_for(self, failure: Failure) -> Reply:
        return replies.answer(failure, "delivering a message", self._log)

    def _conclude(self, outcomes: list[tuple[bool, Any]]) -> list[Reply]:
        answers = [_success(result) if success else self._reply_for(result) for success, result in outcomes]
        return answers if self._replies == len(answers) else [_summary(answers)]


def _success(text: object) -> Reply:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return Reply(250, "2.0.0", text if isinstance(text, str) and text else "Message accepted")


def _summary(outcomes: Sequence[Reply]) -> Reply:
    """One reply for all. A transient failure outweighs a permanent one: duplicates may be, loss may not."""
    failures = [reply for reply in outcomes if not reply.positive]
    return next((reply for reply in failures if reply.transient), failures[0] if failures else outcomes[0])


class _LineFeeder:
    """Gives plain messages their lines, and the empty line Twisted's server puts ahead of a bare text.

    Content ends with a line end, so no line is left over.
    """

    def __init__(self, messages: Sequence[Any]) -> None:
        self._messages = messages
        self._partial: list[bytes] = []
        self._first = True

    def write(self, content: bytes) -> None:
        *lines, tail = content.split(b"\n")
        if lines:
            self._line(b"".join([*self._partial, lines[0]]))
            self._partial.clear()
            for line in lines[1:]:
                self._line(line)
        if tail:
            self._partial.append(tail)

    def _line(self, line: bytes) -> None:
        if self._first and line and b":" not in line:
            self._give(b"")
        self._first = False
        self._give(line)

    def _give(self, line: bytes) -> None:
        for message in self._messages:
            message.lineReceived(line)
