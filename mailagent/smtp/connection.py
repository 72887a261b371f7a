"""The connection of a session: its banner, its clocks, its replies on their way out, its end.

  1. Nobody is waited for without end: a silent peer, a session that lasts too long and a peer who does not take
     its last reply are each let go.
  2. A peer who sends far ahead, or does not read what it is told, is not read.
  3. Where a banner delay is set, who speaks before the banner is refused.

What the octets mean is L{mailagent.smtp.server_channel}'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.budget import Budget
from mailagent.config import Limits
from mailagent.envelope.reply import Reply
from mailagent.smtp import replies
from mailagent.smtp.command_buffer import CommandBuffer
from mailagent.smtp.direct_write import write_now
from mailagent.smtp.peer import Peer
from mailagent.smtp.turns import Turns

#: Octets that may wait behind a pending decision before the peer is no longer read.
READ_AHEAD = 65536
#: Seconds that a closed connection may take to deliver our last words; when the server stops.
LINGER = 10
LINGER_AT_STOP = 2


@implementer(IHalfCloseableProtocol, IPushProducer)
class Connection(smtp.ESMTP):
    """Octets in, replies out, in bounded time and memory. Subclasses take the octets out of C{_input}."""

    transport: Any
    peer = Peer("unknown", 0)
    timeout: float  # type: ignore[assignment]
    limits = Limits()
    budget = Budget(limits.memory)
    turns: Turns | None = None
    seconds: Callable[[], float] = staticmethod(time.monotonic)
    admit: Callable[[Any], Reply | None] = staticmethod(lambda session: None)
    ended: Callable[[Any], None] = staticmethod(lambda session: None)
    released: Callable[[Any], None] = staticmethod(lambda session: None)
    _log = Logger(namespace="mailagent.smtp.session")

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._input = CommandBuffer()
        self._output: list[bytes] = []
        self._counted = 0
        self._pending = False
        self._reading = True
        self._writable = True
        self._direct = True
        self._expired = False
        self._over = False
        self._heard = False
        self._ended = False
        self._draining = False
        self._gone = False
        self._banner: IDelayedCall | None = None
        self._end: IDelayedCall | None = None

    def _pump(self) -> None:
        """Carry out what has arrived, as far as that can be done now."""
        raise NotImplementedError

    def _abandon(self) -> None:
        """Forget what was begun: the connection is gone."""
        raise NotImplementedError

    @property
    def _patience(self) -> float:
        """Seconds for which the peer may be silent now."""
        return self.timeout

    # The transport's side

    def connectionMade(self) -> None:
        self._meet()
        self.canStartTLS = ITLSTransport.providedBy(self.transport) and self.ctx is not None
        self._connected_at = self.seconds()
        if ITCPTransport.providedBy(self.transport):
            with suppress(AttributeError):  # TLS over a local socket claims to be TCP
                self.transport.setTcpNoDelay(True)  # replies are written whole; to wait for more would cost 40 ms
        self.transport.registerProducer(self, True)
        if self._turned_away():
            return
        self._end = self.callLater(self.limits.session_time, self._expire)
        if self.limits.banner_delay is not None and not self.peer.local:
            self._banner = self.callLater(self.limits.banner_delay, self._open)
        else:
            self._open()

    def _meet(self) -> bool:
        """See who is there: when the connection stands, and again with the first octets, as the header by which a
        proxy names the real peer may have arrived only then.

        @return: whether it is somebody else than before.
        """
        peer = self._peer_now()
        if peer == self.peer:
            return False
        self.peer = peer
        self._input = CommandBuffer(courtesy=peer.local)
        events.CONNECTED(self._log, peer=str(peer))
        return True

    def _peer_now(self) -> Peer:
        return Peer.of(self.transport)

    def _turned_away(self) -> bool:
        refusal = self.admit(self)
        if refusal is None:
            return False
        events.COMMAND_REFUSED(self._log, peer=str(self.peer), command="connection", reply=str(refusal))
        self._close(refusal)
        self.setTimeout(LINGER_AT_STOP)  # it counts nowhere, so it must not stay
        return True

    def _open(self) -> None:
        self._banner = None
        self._send(Reply(220, "", self.greeting().decode("ascii", "replace")))
        self._flush()
        self.setTimeout(self._patience)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        if not self._heard:
            self._heard = True
            if self._meet() and self._turned_away():
                return
        if self._banner is not None:
            events.COMMAND_REFUSED(
                self._log, peer=str(self.peer), command="input ahead of the banner", reply=str(replies.OUT_OF_STEP)
            )
            self._close(replies.OUT_OF_STEP)
            return
        self._input.feed(data)
        self._pump()
        self._wait_on()

    def _wait_on(self) -> None:
        """The peer was heard: its silence is counted afresh, by the measure of what is awaited now."""
        if self._over:
            return
        if self.timeOut == self._patience:
            self.resetTimeout()
        else:
            self.setTimeout(self._patience)

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
            self.setTimeout(self._patience)
        else:
            self._close(replies.IDLE)

    def _expire(self) -> None:
        """The session has lasted too long. A decision that is pending is still answered."""
        self._end = None
        self._expired = True
        if not self._pending:
            self._close(replies.SESSION_TOO_LONG)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._gone:
            return
        if self._over and reason.check(ConnectionLost):  # after our last words; over TLS most clients end like that
            reason = connectionDone
        self._over = self._gone = True
        self._stop_clocks()
        self._abandon()
        self.budget.change(-self._counted)
        self._counted = 0
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
        if not self._pending:
            self.released(self)

    def _break_off(self, reason: Failure) -> None:
        """The transport is no good any more: leave it, whether it will ever tell us of its end or not."""
        self.connectionLost(reason)
        self.transport.abortConnection()

    def _stop_clocks(self) -> None:
        self.setTimeout(None)
        for call in (self._banner, self._end):
            if call is not None and call.active():
                call.cancel()
        self._banner = self._end = None

    # Replies

    def _reply(self, reply: Reply) -> None:
        self._send(replies.with_status(reply))

    def _send(self, reply: Reply) -> None:
        if not self._over:
            self._output.append(bytes(reply))

    def _flush(self) -> None:
        if self._output and self.transport is not None:
            octets = b"".join(self._output)
            taken = write_now(self.transport, octets) if self._direct else 0
            if taken < len(octets):
                self._direct = False  # the transport has a buffer from now on, which nothing may overtake
                self.transport.write(octets[taken:])
        self._output.clear()

    def _close(self, reply: Reply) -> None:
        if not self._over:
            self._reply(reply)
            self._hang_up()

    def _hang_up(self) -> None:
        self._over = True
        self._flush()
        self._abandon()
        self._stop_clocks()
        self.setTimeout(LINGER_AT_STOP if self._draining else LINGER)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _regulate(self) -> None:
        """Do not read a peer who sends far ahead of our decisions, or does not read our replies."""
        if self._over:
            return
        waiting = len(self._input)
        self.budget.change(waiting - self._counted)
        self._counted = waiting
        ahead = waiting > (0 if self.budget.exhausted else READ_AHEAD)
        reading = self._writable and not (self._pending and ahead)
        if reading != self._reading:
            self._reading = reading
            (self.transport.resumeProducing if reading else self.transport.pauseProducing)()
