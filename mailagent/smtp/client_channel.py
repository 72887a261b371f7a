"""The client's side of an SMTP connection: as many replies as commands, in their order.

Guarantees:
  - every wait ends: with the reply, after its time-out, or at once when the connection goes;
  - it is read whatever is being written, so that two sides that write cannot wait for each other;
  - after any failure the connection is dropped, and whatever is asked of the channel then fails with that failure;
  - a reply that answers nothing is never taken for the answer to a later command;
  - content is written no faster than the network takes it: one block is in memory at a time;
  - a message that breaks off, for whatever reason, is never followed by the end mark;
  - nothing that came in the clear is taken for something said under TLS.

Cancelling a Deferred (or a coroutine awaiting one) of this module drops the connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
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

from mailagent.envelope.outcome import Hop
from mailagent.envelope.reply import Reply
from mailagent.log import COMMAND_SENT, REPLY_RECEIVED
from mailagent.smtp.client_tls import tls_complaint
from mailagent.smtp.direct_write import write_now
from mailagent.smtp.peer import Peer, tls_phrase
from mailagent.smtp.reply_reader import MalformedReply, ReplyReader
from mailagent.smtp.sending_failed import HandshakeBroken, NotSecure, ProtocolError, SendingFailed

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
    @param logged: whether the log gets every command and reply.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, greeting_timeout: float, watch: Watch = unwatched, *, logged: bool = True
    ) -> None:
        self._clock = clock
        self._watch = watch
        self._logged = logged
        self._greeting_timeout = greeting_timeout
        self._reader = ReplyReader()
        self._owed = 0  # replies that the server has yet to give
        self._replies: deque[Reply] = deque()  # those it gave before somebody asked
        self._waiting: Deferred[None] | None = None
        self._failure: SendingFailed | None = None
        self._handshaking = False
        self._direct = True  # nothing waits in the transport's buffer

    @property
    def on_loopback(self) -> bool:
        """Whether the other end is on this machine, as its address tells."""
        return Peer.of(self._wire).local

    @property
    def local_address(self) -> str:
        """The IP address of this end, or C{""} where it has none."""
        return str(getattr(self._wire.getHost(), "host", ""))

    @property
    def open(self) -> bool:
        """Whether a command may be sent now: the connection stands, and every reply is in."""
        return self._failure is None and not self._owed

    def hop(self, host: str) -> Hop:
        """Where this connection leads, C{host} being the name by which the server was found."""
        peer = Peer.of(self._wire)
        return Hop(host, "" if peer.address == "unknown" else peer.address, tls_phrase(self._wire))

    def connectionMade(self) -> None:
        """See C{IProtocol}."""
        if ITCPTransport.providedBy(self.transport):
            self._wire.setTcpNoDelay(True)  # content and its end are two writes; the second must not wait for an ACK
        self._owed = 1
        self._greeting = self._wait("greeting", self._greeting_timeout).addCallback(lambda _: self._replies.popleft())

    def dataReceived(self, data: bytes) -> None:
        """See C{IProtocol}."""
        if self._failure is not None:
            return
        try:
            replies = self._reader.receive(data)
        except MalformedReply as error:
            self._answer(error.before, ProtocolError(f"the server does not speak SMTP: {error}"))
        else:
            self._answer(replies)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """See C{IProtocol}."""
        complaint = tls_complaint(reason and reason.value)
        self.drop(NotSecure(complaint) if complaint else SendingFailed("the server closed the connection"))

    def handshakeCompleted(self) -> None:
        """See C{IHandshakeListener}: TLS stands, and the server is who it should be."""
        if self._handshaking:
            self._handshaking = False
            self._fire()

    def resumeProducing(self) -> None:
        """See C{IPullProducer}: the network has taken what was written."""
        self._direct = True
        self._fire()

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

        @raise SendingFailed: see L{reply}.
        """
        return self._judge(await self._greeting, (2,))

    async def command(self, line: str, seconds: float, expect: tuple[int, ...] = (2,), told: str = "") -> Reply:
        """L{send} one line, and await its L{reply}.

        @param told: what logs and errors say instead of C{line}, if it is a secret.
        """
        self.send(line, told=told)
        return await self.reply(told or line, seconds, expect)

    def send(self, *lines: str, told: str = "") -> None:
        """Send command lines in one go. Each is owed a reply; ask for them one by one, in order.

        @param lines: printable, in UTF-8 if need be (RFC 6531); the CRLF is added.
        @raise SendingFailed: the connection is gone.
        """
        if self._failure is not None:
            raise self._failure
        for line in lines:
            if not line.isprintable():
                raise ValueError(f"{told or line!r} is no command line")
            if self._logged:
                COMMAND_SENT(self._log, command=told or line)
        self._owed += len(lines)
        self._write(b"".join(line.encode("utf-8") + b"\r\n" for line in lines))

    async def reply(self, what: str, seconds: float, expect: tuple[int, ...] = (2,)) -> Reply:
        """The next reply that is owed: a refusal, or one whose first digit is in C{expect}.

        @raise SendingFailed: no reply within C{seconds}, the connection is lost, or the server is leaving (421).
        @raise ProtocolError: something came that is no answer to this.
        """
        if not self._replies:
            await self._wait(what, seconds)
        return self._judge(self._replies.popleft(), expect)

    async def start_tls(self, creator: IOpenSSLClientConnectionCreator, seconds: float) -> None:
        """Go over to TLS, which STARTTLS's 220 allowed (RFC 3207 section 4), and see who is there.

        What came in the clear behind that 220 ends the session: it may be anybody's.

        @raise NotSecure: no TLS came about, or not with the server that was meant.
        @raise HandshakeBroken: the connection went, or nothing came.
        @raise ProtocolError: see above.
        """
        if self._reader.amid_reply:
            self.drop(ProtocolError("the server sent more in the clear after its word to go over to TLS"))
        if self._failure is not None:
            raise self._failure
        self._handshaking = True
        handshake = self._wait("the TLS handshake", seconds)
        cast(ITLSTransport, self.transport).startTLS(creator)
        try:
            await handshake
        except NotSecure:
            raise
        except SendingFailed as failure:
            raise HandshakeBroken(failure.reason) from failure

    def owe(self, replies: int) -> None:
        """What is written next is owed so many C{replies}, once it is through."""
        self._owed = replies

    async def write(self, octets: bytes, seconds: float) -> Reply | None:
        """Write a block of content, and wait until the network has taken it.

        This is a producer for no longer than that: under TLS, one without content would be asked for it all the time.

        @return: C{None}; a refusal if one has come, which ends the connection too.
        @raise SendingFailed: as L{reply}.
        """
        early = self._early()
        if early is not None:
            return early
        octets = self._write_now(octets)
        if octets:
            consumer = cast(IConsumer, self.transport)
            consumer.registerProducer(self, False)
            self._direct = False
            try:
                self._wire.write(octets)
                await self._wait("progress of the message", seconds)
            finally:
                consumer.unregisterProducer()
        return self._early() if self._replies else None

    def write_end(self, octets: bytes) -> Reply | None:
        """Write the end of the content, but for a refusal that has come: see L{write}."""
        early = self._early()
        if early is None:
            self._write(octets)
        return early

    def _write(self, octets: bytes) -> None:
        if octets := self._write_now(octets):
            self._direct = False
            self._wire.write(octets)

    def _write_now(self, octets: bytes) -> bytes:
        """Write as much as the network takes at once; what is left, where nothing may overtake it."""
        return octets[write_now(self.transport, octets) :] if self._direct else octets

    def _early(self) -> Reply | None:
        if self._replies:
            early = self._judge(self._replies.popleft(), ())
            self.drop(SendingFailed("the server answered before the message's end", early))
            return early
        if self._failure is not None:
            raise self._failure
        return None

    @property
    def _wire(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)

    def _wait(self, what: str, seconds: float) -> Deferred[None]:
        if self._failure is not None:
            return fail(self._failure)

        def cancelled(waiting: Deferred[None]) -> None:
            self._waiting = None
            self.drop(SendingFailed("the sending was given up"))

        def timed_out(result: object, seconds: float) -> Failure:
            self._failure = SendingFailed(f"no answer within {seconds:g} s (waiting for: {what})")
            return Failure(self._failure)

        waiting = self._waiting = Deferred(cancelled)
        waiting.addTimeout(seconds, self._clock, timed_out)
        self._watch(what, waiting)
        return waiting

    def _answer(self, replies: Sequence[Reply], stray: ProtocolError | None = None) -> None:
        """Take up replies, of which those that are owed count whatever comes behind them: C{stray}, or more."""
        due, surplus = replies[: self._owed], replies[self._owed :]
        for reply in due if self._logged else ():
            REPLY_RECEIVED(self._log, reply=str(reply) if reply.code != CHALLENGE else f"{CHALLENGE} (a challenge)")
        self._owed -= len(due)
        self._replies.extend(due)
        waiting = self._waiting
        if due:
            self._waiting = None
        if surplus:
            self._surplus(surplus[0])
        elif stray is not None:
            self.drop(stray)
        if due and waiting is not None:
            waiting.callback(None)

    def _surplus(self, reply: Reply) -> None:
        if reply.code == 421:  # RFC 5321 section 3.8: may come at any time
            self.drop(SendingFailed(f"the server is closing the connection: {reply}", reply))
        else:
            self.drop(ProtocolError(f"the server sent a reply to nothing: {reply}"))

    def _fire(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def _judge(self, reply: Reply, expect: tuple[int, ...]) -> Reply:
        if reply.code == 421:
            failure = SendingFailed(f"the server is closing the connection: {reply}", reply)
        elif reply.positive and reply.code // 100 not in expect:
            failure = ProtocolError(f"the server's reply is out of place: {reply}")
        else:
            return reply
        self.drop(failure)
        raise failure
