"""The machinery of a session: octets in, one command at a time, replies out in order.

  1. One command at a time. While a decision is pending, what arrives waits; replies leave in order, and those
     to one segment leave together.
  2. Memory is bounded: an overlong line is thrown away as it comes; a peer who sends far ahead, or does not read
     what it is told, is not read.
  3. Trouble on our side is 4yz.

What the commands mean is L{mailagent.smtp.session}'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport, ITLSTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.config import Limits
from mailagent.envelope.reply import Reply
from mailagent.smtp import replies
from mailagent.smtp.command_buffer import CommandBuffer, LineFault
from mailagent.smtp.incoming import IncomingMessage
from mailagent.smtp.peer import Peer

#: Octets that may wait behind a pending decision before the peer is no longer read.
READ_AHEAD = 65536
#: Seconds that a closed connection may take to deliver our last words; when the server stops.
LINGER = 10
LINGER_AT_STOP = 2


@implementer(IHalfCloseableProtocol, IPushProducer)
class Exchange(smtp.ESMTP):
    """Lines and content in, replies out. Subclasses say what a line means and whether a transaction is open."""

    transport: Any
    timeout: float  # type: ignore[assignment]
    limits = Limits()
    seconds: Callable[[], float] = staticmethod(time.monotonic)
    ended: Callable[[Any], None] = staticmethod(lambda session: None)
    peer = Peer("unknown", 0)
    _log = Logger(namespace="mailagent.smtp.session")

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._input = CommandBuffer()
        self._output: list[bytes] = []
        self._incoming: IncomingMessage | None = None
        self._errors = 0
        self._heard = False
        self._ended = False
        self._pending = False
        self._pumping = False
        self._reading = True
        self._writable = True
        self._draining = False
        self._over = False

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun and has not ended."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether a transaction is open or a decision is pending."""
        return self._pending or self._incoming is not None or self.in_transaction

    # The transport's side

    def connectionMade(self) -> None:
        self._meet()
        self.canStartTLS = ITLSTransport.providedBy(self.transport) and self.ctx is not None
        self._connected_at = self.seconds()
        if ITCPTransport.providedBy(self.transport):
            with suppress(AttributeError):  # TLS over a local socket claims to be TCP
                self.transport.setTcpNoDelay(True)  # replies are written whole; to wait for more would cost 40 ms
        self.transport.registerProducer(self, True)
        self._send(Reply(220, "", self.greeting().decode("ascii", "replace")))
        self._flush()
        self.setTimeout(self.timeout)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        if not self._heard:
            self._heard = True
            self._meet()
        self.resetTimeout()
        self._input.feed(data)
        self._pump()

    def _meet(self) -> None:
        """See who is there: when the connection stands, and again with the first octets, as a proxy's header that
        names the real peer has arrived only then."""
        peer = Peer.of(self.transport)
        if peer != self.peer:
            self.peer = peer
            self._input = CommandBuffer(courtesy=peer.local)
            events.CONNECTED(self._log, peer=str(peer))

    def readConnectionLost(self) -> None:
        """The peer sends no more, but may still read (C{IHalfCloseableProtocol}): it gets the replies it waits for."""
        self._ended = True
        self._pump()

    def writeConnectionLost(self) -> None:
        """The peer reads no more (C{IHalfCloseableProtocol}); C{connectionLost} follows."""

    def pauseProducing(self) -> None:
        """The peer does not read our replies: carry out nothing more until it does (C{IPushProducer})."""
        self._writable = False

    def resumeProducing(self) -> None:
        """The peer has read our replies (C{IPushProducer})."""
        self._writable = True
        self._pump()

    def stopProducing(self) -> None:
        """The connection is gone (C{IPushProducer}); C{connectionLost} does what there is to do."""

    def timeoutConnection(self) -> None:
        if self._over:  # neither our last words nor, over TLS, our farewell is being taken
            self.transport.abortConnection()
        elif self._pending:  # it is we who are slow
            self.setTimeout(self.timeout)
        else:
            self._close(replies.IDLE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self.setTimeout(None)
        self._abandon()
        if self._onLogout:
            self._onLogout()
            self._onLogout = None
        events.DISCONNECTED(
            self._log,
            peer=str(self.peer),
            seconds=self.seconds() - self._connected_at,
            reason=reason.getErrorMessage(),
        )
        self.ended(self)

    def drain(self) -> None:
        """Take no new transaction: close now, or when the open one has ended."""
        self._draining = True
        self._pump()
        if not self._writable and not self.busy:
            self._close(replies.SHUTTING_DOWN)

    def abort(self) -> None:
        """Close at once, whatever is open."""
        self._close(replies.SHUTTING_DOWN)

    # From octets to commands

    def _pump(self) -> None:
        """Carry out what has arrived, up to a decision that is pending, and write the replies together."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._writable and not self._pending and not self._over and self._step():
                pass
        finally:
            self._pumping = False
        self._flush()
        if self._ended and self._writable and not self._pending and not self._over:
            self._hang_up()
        self._regulate()

    def _step(self) -> bool:
        """Take one command or all content there is; C{False} if there is nothing to take."""
        if self._incoming is not None:
            return self._take_content(self._incoming)
        if self._draining and not self.in_transaction:
            self._close(replies.SHUTTING_DOWN)
            return False
        line = self._input.take_line()
        if line is None:
            return False
        if isinstance(line, LineFault):
            self._line_fault(line)
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        """Carry out one command line."""
        raise NotImplementedError

    def _line_fault(self, fault: LineFault) -> None:
        """Answer what came instead of a line."""
        self._refuse(fault.name, replies.LINE_FAULTS[fault])

    def _content_taken(self, reply: Reply) -> None:
        """Answer the end of the content."""
        raise NotImplementedError

    def _take_content(self, incoming: IncomingMessage) -> bool:
        octets = self._input.take_all()
        if not octets:
            return False
        rest, wait = incoming.feed(octets)
        if rest is not None:
            self._incoming = None
            self._input.put_back(rest)
            self._decide(incoming.finish(), self._content_taken)
        elif wait is not None:
            self._decide(wait, lambda _: None)
        return True

    # Decisions and replies

    def _refuse(self, command: str, reply: Reply) -> None:
        """Answer a mistake of the client's, and hang up after too many.

        @param command: a word of ours, for the log. The client's own may be a password, or a line of a message.
        """
        events.COMMAND_REFUSED(self._log, peer=str(self.peer), command=command, reply=str(reply))
        self._reply(reply)
        self._errors += 1
        if reply.code == 421:
            self._hang_up()
        elif self._errors >= self.limits.errors:
            self._close(replies.TOO_MANY_ERRORS)

    def _decide(self, decision: Deferred[Any], done: Callable[[Any], None]) -> None:
        """Hold everything until C{decision} is there, then answer and go on."""
        self._pending = True

        def go_on(result: object) -> None:
            self._pending = False
            if isinstance(result, Failure):  # answering failed: no reply is right any more
                events.ERROR(self._log, what="answering", reason=repr(result.value))
                self._close(replies.BROKEN)
            self._pump()

        decision.addCallback(done).addErrback(self._reply_to_failure).addBoth(go_on)

    def _reply_to_failure(self, failure: Failure) -> None:
        reply = replies.reply_for(failure)
        if reply is replies.LOCAL_ERROR:
            events.ERROR(self._log, what="deciding on a command", reason=repr(failure.value))
        self._reply(reply)

    def sendCode(self, code: int, message: bytes = b"") -> None:
        self._reply(Reply.read(code, message.decode("utf-8", "replace")))
        if not self._pumping:
            self._flush()

    def _reply(self, reply: Reply) -> None:
        self._send(replies.with_status(reply))

    def _send(self, reply: Reply) -> None:
        if not self._over:
            self._output.append(bytes(reply))

    def _flush(self) -> None:
        if self._output and self.transport is not None:
            self.transport.write(b"".join(self._output))
        self._output.clear()

    def _close(self, reply: Reply) -> None:
        if not self._over:
            self._reply(reply)
            self._hang_up()

    def _hang_up(self) -> None:
        self._over = True
        self._flush()
        self._abandon()
        self.setTimeout(LINGER_AT_STOP if self._draining else LINGER)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _abandon(self) -> None:
        if self._incoming is not None:
            self._incoming.abandon()
            self._incoming = None

    def _regulate(self) -> None:
        """Do not read a peer who sends far ahead of our decisions, or does not read our replies."""
        if self._over:
            return
        reading = self._writable and not (self._pending and len(self._input) > READ_AHEAD)
        if reading != self._reading:
            self._reading = reading
            (self.transport.resumeProducing if reading else self.transport.pauseProducing)()
