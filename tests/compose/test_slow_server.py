"""What is told of a server that keeps a person waiting."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from mailagent.compose.slow_server import PATIENCE, SlowServer
from mailagent.smtp.sender import open_session

JUST_BEFORE, THEN = PATIENCE - 0.5, 0.5


@implementer(IStreamClientEndpoint)
class Endpoint:
    """One that connects when a test says so."""

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        self.factory = factory
        self.connecting: Deferred[IProtocol] = Deferred()
        return self.connecting


class Wait:
    """A person who waits for a session."""

    def __init__(self) -> None:
        self.clock, self.endpoint, self.told = Clock(), Endpoint(), list[str]()
        watch = SlowServer("mx.example:25", self.clock, self.told.append).watch
        self.session = Deferred.fromCoroutine(open_session(self.endpoint, self.clock, "c.example", watch=watch))

    def connected(self) -> IProtocol:
        address = IPv4Address("TCP", "192.0.2.1", 25)
        protocol = self.endpoint.factory.buildProtocol(address)
        assert protocol is not None
        protocol.makeConnection(StringTransport(address, address))
        self.endpoint.connecting.callback(protocol)
        return protocol

    def pass_(self, seconds: float) -> list[str]:
        """What is told meanwhile."""
        before = len(self.told)
        self.clock.advance(seconds)
        return self.told[before:]


def test_each_wait_is_told_once_with_what_is_waited_for() -> None:
    wait = Wait()
    assert wait.pass_(JUST_BEFORE) == []
    assert wait.pass_(THEN) == ["Waiting for mx.example:25 (the connection) …"]
    assert wait.pass_(60) == []
    server = wait.connected()
    assert wait.pass_(PATIENCE) == ["Waiting for mx.example:25 (greeting) …"]
    server.dataReceived(b"220 mx.example\r\n")
    assert wait.pass_(PATIENCE) == ["Waiting for mx.example:25 (EHLO c.example) …"]


def test_of_a_server_that_is_quick_nothing_is_told() -> None:
    wait = Wait()
    wait.pass_(JUST_BEFORE)
    server = wait.connected()
    wait.pass_(JUST_BEFORE)
    server.dataReceived(b"220 mx.example\r\n")
    wait.pass_(JUST_BEFORE)
    server.dataReceived(b"250 mx.example\r\n")
    assert wait.pass_(600) == []
    assert wait.clock.getDelayedCalls() == []


def test_what_failed_is_waited_for_no_more() -> None:
    wait = Wait()
    wait.session.addErrback(lambda _: None)
    wait.endpoint.connecting.errback(ConnectError())
    assert wait.pass_(600) == []


def test_the_farewell_is_never_worth_a_word() -> None:
    wait = Wait()
    wait.session.addErrback(lambda _: None)
    server = wait.connected()
    server.dataReceived(b"554 no\r\n")  # QUIT follows
    assert wait.pass_(600) == []
