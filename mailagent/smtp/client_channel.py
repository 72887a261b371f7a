"""The client's side of an SMTP connection: one command, one reply, in lock-step.

Guarantees:
  - every wait ends: with the reply, after its time-out, or at once when the connection goes;
  - after any failure the connection is dropped, and whatever is asked of the channel then fails with that failure;
  - a reply that answers nothing is never taken for the answer to a later command;
  - content is written no faster than the network takes it: one block is in memory at a time;
  - a message that breaks off, for whatever reason, is never followed by the end mark;
  - nothing that came in the clear is taken for something said under TLS.

Cancelling a Deferred (or a coroutine awaiting one) of this module drops the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IConsumer,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IPullProducer,
    IReactorTime,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent.envelope.reply import Reply
from mailagent.log import COMMAND_SENT, REPLY_RECEIVED
from mailagent.smtp.client_tls import tls_complaint
from mailagent.smtp.dot_stuffing import DotStuffing
from mailagent.smtp.reply_reader import MalformedReply, ReplyReader
from mailagent.smtp.sending_failed import NotSecure, ProtocolError, SendingFailed

CHALLENGE = 334  # RFC 4954 section 4; what it says has no place in a log

#: What a wait for the server is for, and what ends it. May add callbacks that hand on the result.
Watch = Callable[[str, "Deferred[Any]"], None]


def unwatched(what: str, waiting: Deferred[Any]) -> None:
    """The L{Watch} of one who does not care."""


@implementer(IPullProducer, IHandshakeListener)
class ClientChannel(Protocol):
    """Sends commands and content, and hands back replies. Knows no verbs.

    @param clock: counts the time-outs.
    @param greeting_timeout: seconds, from the moment the connection stands.
    @param watch: is told of every wait, without anything secret.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, greeting_timeout: float, watch: Watch = unwatched) -> None:
        self._clock = clock
        self._watch = watch
        self._greeting_timeout = greeting_timeout
        self._reader = ReplyReader()
        self._waiting: Deferred[Reply | None] | None = None
        self._failure: SendingFailed | None = None
        self._handshaking = False

    @property
    def on_loopback(self) -> bool:
        """Whether the other end is on this machine, as its IP address tells."""
        try:
            return ip_address(getattr(self._wire.getPeer(), "host", "")).is_loopback
        except ValueError:
            return False

    @property
    def local_address(self) -> str:
        """The IP address of this end, or C{""} where it has none."""
        return str(getattr(self._wire.getHost(), "host", ""))

    def connectionMade(self) -> None:
        """See C{IProtocol}."""
        if ITCPTransport.providedBy(self.transport):
            self._wire.setTcpNoDelay(True)  # content and its end are two writes; the second must not wait for an ACK
        self._greeting = self._wait("greeting", self._greeting_timeout)

    def dataReceived(self, data: bytes) -> None:
        """See C{IProtocol}."""
        if self._failure is not None:
            return
        try:
            replies = self._reader.receive(data)
        except MalformedReply as error:
            self.drop(ProtocolError(f"the server does not speak SMTP: {error}"))
            return
        if replies:
            self._answer(*replies)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """See C{IProtocol}."""
        complaint = tls_complaint(reason and reason.value)
        self.drop(NotSecure(complaint) if complaint else SendingFailed("the server closed the connection"))

    def handshakeCompleted(self) -> None:
        """See C{IHandshakeListener}: TLS stands, and the server is who it should be."""
        if self._handshaking:
            self._handshaking = False
            self._fire(None)

    def resumeProducing(self) -> None:
        """See C{IPullProducer}: the network has taken what was written."""
        self._fire(None)

    def stopProducing(self) -> None:
        """See C{IPullProducer}; the loss of the connection tells the same."""

    def drop(self, failure: SendingFailed) -> None:
        """End the connection at once. Whoever waits gets C{failure}, as will whoever asks later."""
        if self._failure is None:
            self._failure = failure
            self._wire.abortConnection()
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(self._failure)

    def close(self) -> None:
        """End the connection in good order, once what was written is out."""
        if self._failure is None:
            self._failure = SendingFailed("the session is over")
            self._wire.loseConnection()

    async def greeting(self) -> Reply:
        """What the server says first. Ask once.

        @raise SendingFailed: see L{command}.
        """
        return self._judge(await self._greeting, (2,))

    async def command(self, line: str, seconds: float, expect: tuple[int, ...] = (2,), told: str = "") -> Reply:
        """Send a command line and await its reply: a refusal, or one whose first digit is in C{expect}.

        @param line: printable, in UTF-8 if need be (RFC 6531); the CRLF is added.
        @param told: what logs and errors say instead of C{line}, if it is a secret.
        @raise SendingFailed: no reply within C{seconds}, the connection is lost, or the server is leaving (421).
        @raise ProtocolError: something came that is no answer to this.
        """
        if self._failure is not None:
            raise self._failure
        if not line.isprintable():
            raise ValueError(f"{told or line!r} is no command line")
        COMMAND_SENT(self._log, command=told or line)
        self._wire.write(line.encode("utf-8") + b"\r\n")
        return self._judge(await self._wait(told or line, seconds), expect)

    async def start_tls(self, creator: IOpenSSLClientConnectionCreator, seconds: float) -> None:
        """Go over to TLS, which STARTTLS's 220 allowed (RFC 3207 section 4), and see who is there.

        What came in the clear behind that 220 ends the session: it may be anybody's.

        @raise NotSecure: no TLS came about, or not with the server that was meant.
        @raise SendingFailed: as L{command}.
        """
        if self._reader.amid_reply:
            self.drop(ProtocolError("the server sent more in the clear after its word to go over to TLS"))
        if self._failure is not None:
            raise self._failure
        self._handshaking = True
        handshake = self._wait("the TLS handshake", seconds)
        cast(ITLSTransport, self.transport).startTLS(creator)
        await handshake

    async def content(self, blocks: Iterable[bytes], block_seconds: float, final_seconds: float) -> Reply:
        """Send a message's content, which DATA's 354 asked for, and await the verdict.

        @param blocks: the content, cut anywhere, with any line ends.
        @param block_seconds: how long the network may take over one block.
        @param final_seconds: how long the server may take over its verdict.
        @return: the verdict. One that comes before the content is through ends the connection too.
        @raise SendingFailed: as L{command}; the text tells when the message may have been accepted all the same.
        """
        early = await self._write(blocks, block_seconds)
        if early is not None:
            self.drop(SendingFailed("the server answered before the message's end", early))
            return early
        try:
            return self._judge(await self._wait("the message", final_seconds), (2,))
        except SendingFailed as failure:
            if failure.reply is None:
                reason = "after the whole message was sent: it is not known whether it was accepted"
                raise type(failure)(f"{failure.reason}, {reason}") from None
            raise

    async def _write(self, blocks: Iterable[bytes], seconds: float) -> Reply | None:
        stuffing = DotStuffing()
        consumer = cast(IConsumer, self.transport)
        consumer.registerProducer(self, False)
        try:
            for block in blocks:
                encoded = stuffing.encode(block)
                if not encoded:
                    continue
                self._wire.write(encoded)
                early = await self._wait("progress of the message", seconds)
                if early is not None:
                    return self._judge(early, ())
            if self._failure is not None:
                raise self._failure
            self._wire.write(stuffing.finish())
        except BaseException:
            self.drop(SendingFailed("the message broke off"))
            raise
        finally:
            consumer.unregisterProducer()
        return None

    @property
    def _wire(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)

    def _wait(self, what: str, seconds: float) -> Deferred[Reply | None]:
        if self._failure is not None:
            return fail(self._failure)

        def cancelled(waiting: Deferred[Reply | None]) -> None:
            self._waiting = None
            self.drop(SendingFailed("the sending was given up"))

        def timed_out(result: object, seconds: float) -> Failure:
            self._failure = SendingFailed(f"no answer within {seconds:g} s (waiting for: {what})")
            return Failure(self._failure)

        waiting = self._waiting = Deferred(cancelled)
        waiting.addTimeout(seconds, self._clock, timed_out)
        self._watch(what, waiting)
        return waiting

    def _answer(self, reply: Reply, *surplus: Reply) -> None:
        REPLY_RECEIVED(self._log, reply=str(reply) if reply.code != CHALLENGE else f"{CHALLENGE} (a challenge)")
        if self._waiting is None:
            self._surplus(reply)
            return
        waiting, self._waiting = self._waiting, None
        if surplus:
            self._surplus(surplus[0])
        waiting.callback(reply)

    def _surplus(self, reply: Reply) -> None:
        if reply.code == 421:  # RFC 5321 section 3.8: may come at any time
            self.drop(SendingFailed(f"the server is closing the connection: {reply}", reply))
        else:
            self.drop(ProtocolError(f"the server sent a reply to nothing: {reply}"))

    def _fire(self, result: Reply | None) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(result)

    def _judge(self, reply: Reply | None, expect: tuple[int, ...]) -> Reply:
        assert reply is not None  # only the progress of content has no reply
        if reply.code == 421:
            failure = SendingFailed(f"the server is closing the connection: {reply}", reply)
        elif reply.positive and reply.code // 100 not in expect:
            failure = ProtocolError(f"the server's reply is out of place: {reply}")
        else:
            return reply
        self.drop(failure)
        raise failure
