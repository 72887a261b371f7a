"""TLS connections of which the peer may close its own direction first.

A C{close_notify} says that its sender sends no more, not that it reads no more (RFC 8446 section 6.1). Exim sends its
last message, QUIT, C{close_notify} and FIN in one go, and waits for the replies. Twisted alone would close the
connection, and Exim would send again a message that we had stored.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.components import registerAdapter
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class HalfClosingConnection(SSL.Connection):
    """Tells the protocol that the peer sends no more, and leaves the closing to it.

    @param protocol: the C{TLSMemoryBIOProtocol} that this connection is for. Where the protocol it wraps is no
        C{IHalfCloseableProtocol}, the connection closes as ever.
    @ivar half_closed: whether the protocol has been told.
    """

    def __init__(self, context: SSL.Context, protocol: Any) -> None:
        super().__init__(context, None)
        self.half_closed = False
        self._protocol = protocol

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        try:
            return super().recv(bufsiz, flags)
        except SSL.ZeroReturnError:
            wrapped = IHalfCloseableProtocol(self._protocol.wrappedProtocol, None)
            if wrapped is None or self.get_shutdown() & SSL.SENT_SHUTDOWN:  # with the latter, both have closed
                raise
            if not self.half_closed:
                self.half_closed = True
                wrapped.readConnectionLost()
            raise SSL.WantReadError from None

    def readConnectionLost(self) -> None:
        """The FIN that follows on C{close_notify} says nothing new."""

    def writeConnectionLost(self) -> None:
        """C{connectionLost} follows."""


def _half_closed(protocol: TLSMemoryBIOProtocol) -> HalfClosingConnection | None:
    """What TCP asks when a FIN arrives: whether TLS bears it. Without C{close_notify} before it, nothing does."""
    connection = protocol.getHandle()
    return connection if isinstance(connection, HalfClosingConnection) and connection.half_closed else None


registerAdapter(_half_closed, TLSMemoryBIOProtocol, IHalfCloseableProtocol)
