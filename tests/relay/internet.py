"""A small internet in memory: mail servers at addresses, and a courier that is to reach them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import attrs
from OpenSSL.SSL import Error as TLSError
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent.config import Config
from mailagent.config.outbound import RelaySettings, RouteSettings
from mailagent.config.values import Count, Destination, Domain, Pattern, Security
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.interfaces import Attempt, Attempted
from mailagent.relay.courier import Courier
from mailagent.relay.ourselves import Ourselves
from mailagent.relay.sessions import Sessions
from mailagent.smtp.client_tls import ClientTLS
from tests.relay.names import resolver
from tests.smtp.outgoing_server import OutgoingServer

ANN, BOB, EVE = Address("ann", "d.example"), Address("bob", "d.example"), Address("eve", "here.example")
CONTENT = b"Subject: x\n\ntext\n"
ONE, TWO, THREE = "192.0.2.1", "192.0.2.2", "192.0.2.3"
#: d.example has two mail servers, one better than the other.
NAMES: Mapping[str, Sequence[str] | str] = {
    "d.example": ["10 one", "20 two"],
    "one": [ONE],
    "two": [TWO],
    "smart.example": [THREE],
}
STARTTLS = {"EHLO": "250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN"}


class Wire(StringTransport):
    """A client's end of a connection, which TLS either works on or ends."""

    def __init__(self, peer: Any, tls_works: bool) -> None:
        super().__init__(peerAddress=peer)
        self._tls_works = tls_works
        self.creators: list[Any] = []
        self.handshake = False

    def startTLS(self, creator: Any) -> None:
        self.creators.append(creator)
        self.handshake = True


@attrs.define
class Connection:
    """One connection to a server. Every connection has the server's whole script before it."""

    place: str
    server: OutgoingServer
    channel: Any
    wire: Wire

    def step(self) -> bool:
        """Take octets to and fro, once; whether there were any."""
        if self.wire.handshake:
            self.wire.handshake = False
            if self.wire._tls_works:
                self.channel.handshakeCompleted()
            else:
                self.channel.connectionLost(Failure(TLSError([("", "", "wrong version number")])))
            return True
        while self.wire.producer is not None:
            self.wire.producer.resumeProducing()
        written = self.wire.value()
        self.wire.clear()
        if not written or self.server.over:
            return False
        self.hear(self.server.receive(written))
        return True

    def hear(self, octets: bytes) -> None:
        if octets:
            self.channel.dataReceived(octets)
        if self.server.over:
            self.channel.connectionLost(Failure(ConnectionDone()))


@implementer(IStreamClientEndpoint)
@attrs.define
class Endpoint:
    internet: Internet
    place: str
    port: int

    def connect(self, factory: Any) -> Deferred[Any]:
        return self.internet.connect(self.place, self.port, factory)


@attrs.define(slots=False)
class Internet:
    """Mail servers' scripts by address (or path); where there is none, connections are refused.

    @ivar broken_tls: addresses where no handshake succeeds.
    @ivar connections: every connection there was, in order.
    @ivar tried: the addresses and ports, in order.
    """

    servers: dict[str, Mapping[str, str]]
    config: Config = attrs.field(factory=lambda: Config(hostname=Domain("us.example")))
    names: Mapping[str, Sequence[str] | str] = NAMES
    broken_tls: set[str] = attrs.field(factory=set)
    tried: list[tuple[str, int]] = attrs.field(factory=list)
    connections: list[Connection] = attrs.field(factory=list)
    clock: Clock = attrs.field(factory=Clock)
    under_way: list[Deferred[Any]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        sessions = Sessions(lambda: self.config, self.clock, lambda *at: Endpoint(self, *at[:2]), execute)
        ourselves = Ourselves("us.example", list, lambda address: False, lambda address: True)
        names = resolver(self.names)
        self.courier = Courier(lambda: self.config, self.clock, names, ourselves, sessions, lambda hosts: None)

    def connect(self, place: str, port: int, factory: Any) -> Deferred[Any]:
        self.tried.append((place, port))
        if place not in self.servers:
            return fail(ConnectionRefusedError())
        peer: Any = IPv4Address("TCP", place, port) if port else UNIXAddress(place)
        wire = Wire(peer, place not in self.broken_tls)
        channel = factory.buildProtocol(peer)
        connection = Connection(place, OutgoingServer(self.servers[place]), channel, wire)
        self.connections.append(connection)
        channel.makeConnection(wire)
        connected = succeed(channel)
        self.clock.callLater(0, connection.hear, connection.server.greet())
        return connected

    def run(self) -> None:
        """Until nothing more happens."""
        self.clock.advance(0)
        while sum(connection.step() for connection in self.connections):
            self.clock.advance(0)

    def begin(self, attempt: Attempt) -> list[Any]:
        """Filled with what comes of the attempt: L{Attempted}, or the exception."""
        results: list[Any] = []
        deferred = self.courier.deliver(attempt)
        self.under_way.append(deferred.addErrback(lambda failure: failure.value).addCallback(results.append))
        self.run()
        return results

    def stop(self) -> None:
        """Give up what is under way."""
        for deferred in self.under_way:
            deferred.cancel()

    def deliver(self, attempt: Attempt | None = None) -> Attempted:
        (result,) = self.begin(attempt or to_ann())
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, Attempted)
        return result

    @property
    def places(self) -> list[str]:
        """The addresses tried, in order."""
        return [place for place, _ in self.tried]

    def heard(self, number: int) -> list[str]:
        """What a connection's server has heard."""
        return self.connections[number].server.lines


def attempt(envelope: Envelope, **changes: Any) -> Attempt:
    async def content() -> AsyncIterator[bytes]:
        yield CONTENT

    usual = Attempt("id", envelope, "d.example", "", content, lambda: succeed(True))
    return attrs.evolve(usual, **changes)


def to_ann(**changes: Any) -> Attempt:
    return attempt(Envelope(EVE, (ANN,)), **changes)


def configured(tls: str = "may", routes: Mapping[str, RouteSettings] | None = None, **relay: Any) -> Config:
    return Config(
        hostname=Domain("us.example"),
        relay=RelaySettings(tls=Security(tls), connections=Count(4), **relay),
        routes={Pattern(name): route for name, route in (routes or {}).items()},
    )


def to(way: str) -> RouteSettings:
    return RouteSettings(to=Destination(way))


def everything(route: RouteSettings) -> Config:
    """A configuration in which all mail goes this way."""
    return configured(routes={"*": route})


def verified(internet: Internet, number: int = 0) -> list[bool]:
    """Of each TLS handshake on a connection, whether the server's certificate was asked for."""
    return [ClientTLS(creator).verified for creator in internet.connections[number].wire.creators]


def replies(attempted: Attempted) -> list[str]:
    return [str(outcome.reply) for outcome in attempted.outcomes]
