"""Sessions behind a proxy that tells who the client is, by the PROXY protocol.

Only a proxy that is listed is believed, and it must say something, at once. Everybody else is a client like any other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from mailagent import log as events
from mailagent.smtp import proxy_header
from mailagent.smtp.peer import Peer

#: Seconds a proxy may take for its header.
_PATIENCE = 10.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class Proxies:
    """The networks whose word is taken."""

    networks: Collection[Network]

    @classmethod
    def of(cls, networks: Collection[str]) -> Proxies:
        """From texts such as C{"192.0.2.0/24"} or C{"2001:db8::1"}."""
        return cls([ipaddress.ip_network(network) for network in networks])

    def __contains__(self, peer: Peer) -> bool:
        if not self.networks or peer.address in ("", "unknown"):
            return False
        return any(ipaddress.ip_address(peer.address) in network for network in self.networks)


class ProxiedConnection(ProtocolWrapper):
    """A connection from a proxy. The session begins once the header is in."""

    factory: ProxiedFactory
    transport: Any
    _log = Logger(namespace="mailagent.smtp.proxied")

    def __init__(self, factory: ProxiedFactory) -> None:
        super().__init__(factory, None)  # type: ignore[arg-type]  # the session comes with the header
        self._header = b""
        self._origin: IAddress | None = None
        self._deadline: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        directlyProvides(self, providedBy(transport))
        self.transport = transport
        self.factory.registerProtocol(self)
        self._deadline = self.factory.clock.callLater(_PATIENCE, self._refuse, "no PROXY header in time")

    def getPeer(self) -> Any:
        """The client's address, once the proxy has told it."""
        return self._origin or self.transport.getPeer()

    def startTLS(self, *args: Any) -> None:
        """TLS from now on; what the transport then provides, so do we."""
        self.transport.startTLS(*args)
        directlyProvides(self, providedBy(self.transport))

    def dataReceived(self, data: bytes) -> None:
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data)
            return
        self._header += data
        try:
            found = proxy_header.parse(self._header)
        except ValueError as error:
            self._refuse(str(error))
            return
        if found is not None:
            origin, length = found
            self._begin(origin, self._header[length:])

    def _begin(self, origin: proxy_header.Origin | None, rest: bytes) -> None:
        self._stop_clock()
        self._header = b""
        if origin is not None:
            kind = IPv6Address if ":" in origin.address else IPv4Address
            self._origin = kind("TCP", origin.address, origin.port)
        session = self.factory.wrappedFactory.buildProtocol(self.getPeer())
        if session is None:
            self.transport.loseConnection()
            return
        self.wrappedProtocol = session
        session.makeConnection(self)
        if rest:
            session.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        self._stop_clock()
        events.ERROR(self._log, what=f"proxy {Peer.of(self.transport)}", reason=reason)
        self.transport.abortConnection()

    def _stop_clock(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_clock()
        self.factory.unregisterProtocol(self)
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.connectionLost(reason)


def _half_closed(connection: ProxiedConnection) -> IHalfCloseableProtocol | None:
    """The proxy passes on that its client sends no more: whoever is behind us says whether that is the end.

    An adapter, for TLS that runs inside of us claims to provide what we do, and would send the question back to us.
    """
    behind: IHalfCloseableProtocol | None = IHalfCloseableProtocol(connection.wrappedProtocol, None)
    return behind


registerAdapter(_half_closed, ProxiedConnection, IHalfCloseableProtocol)


class ProxiedFactory(WrappingFactory):
    """Gives connections from listed proxies a L{ProxiedConnection}, and all others what C{factory} gives."""

    noisy = False

    def __init__(self, factory: IProtocolFactory, proxies: Proxies, clock: IReactorTime) -> None:
        super().__init__(factory)
        self.clock = clock
        self._proxies = proxies

    def buildProtocol(self, addr: Any) -> Any:
        if Peer.at(addr) in self._proxies:
            return ProxiedConnection(self)
        return self.wrappedFactory.buildProtocol(addr)
