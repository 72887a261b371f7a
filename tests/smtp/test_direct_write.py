"""What is written goes to the socket at once where that is possible, and in order where it is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.direct_write import write_now
from tests.memory_server import STRANGER, MemoryServer


class Reactor:
    """Knows who waits to write."""

    def __init__(self) -> None:
        self.writers: list[Any] = []

    def addWriter(self, writer: Any) -> None:
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def addReader(self, reader: Any) -> None:
        """Nobody reads here."""

    removeReader = addReader


class Transport(Connection):
    """The server's end of a socket that has no address."""

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", STRANGER, 40000)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It is no TCP."""


@pytest.fixture
def ends() -> Iterator[tuple[Transport, socket.socket]]:
    """Both ends of a connection; neither blocks."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    reactor: Any = Reactor()
    transport = Transport(ours, Protocol(), reactor)
    transport.connected = 1
    with ours, theirs:
        yield transport, theirs


def fill(transport: Transport) -> int:
    """Send until the socket takes no more; how much that was."""
    total = 0
    while taken := write_now(transport, b"x" * 65536):
        total += taken
    return total


def read(theirs: socket.socket, transport: Transport) -> bytes:
    """All that arrives while the transport writes what waits."""
    octets = b""
    while True:
        try:
            octets += theirs.recv(1 << 20)
        except BlockingIOError:
            if not transport.reactor.writers:  # type: ignore[attr-defined]
                return octets
            transport.doWrite()


def test_what_the_socket_takes_is_there_at_once(ends: tuple[Transport, socket.socket]) -> None:
    transport, theirs = ends
    assert write_now(transport, b"220 hello\r\n") == 11
    assert theirs.recv(100) == b"220 hello\r\n"


def test_a_full_socket_takes_nothing(ends: tuple[Transport, socket.socket]) -> None:
    transport, _ = ends
    assert fill(transport) > 0
    assert write_now(transport, b"x") == 0


def test_nothing_is_written_past_tls(ends: tuple[Transport, socket.socket]) -> None:
    transport, theirs = ends
    transport.TLS = True
    assert write_now(transport, b"in the clear") == 0
    with pytest.raises(BlockingIOError):
        theirs.recv(100)


@pytest.mark.parametrize("closed", [True, False], ids=["closed by us", "closed by the peer"])
def test_a_connection_that_is_gone_takes_nothing(ends: tuple[Transport, socket.socket], closed: bool) -> None:
    transport, theirs = ends
    transport.connected = not closed
    theirs.close()
    assert write_now(transport, b"x") == 0


def test_other_transports_are_left_to_themselves() -> None:
    transport = StringTransport()
    assert write_now(transport, b"x") == 0
    assert transport.value() == b""


def test_replies_do_not_wait_for_the_reactor(ends: tuple[Transport, socket.socket]) -> None:
    transport, theirs = ends
    session = MemoryServer().factory.buildProtocol(None)
    assert session is not None
    session.makeConnection(transport)
    assert theirs.recv(1000).startswith(b"220 ")
    session.dataReceived(b"NOOP\r\n")
    assert theirs.recv(1000).startswith(b"250 ")
    assert not transport.reactor.writers  # type: ignore[attr-defined]


def test_no_reply_overtakes_one_that_waits(ends: tuple[Transport, socket.socket]) -> None:
    transport, theirs = ends
    session = MemoryServer().factory.buildProtocol(None)
    assert session is not None
    session.makeConnection(transport)
    filled = fill(transport)
    session.dataReceived(b"NOOP\r\n")
    room = len(theirs.recv(filled // 2))  # now the socket would take the next one
    session.dataReceived(b"VRFY <a@b.example>\r\nRSET\r\n")
    replies = read(theirs, transport).lstrip(b"x").replace(b"x" * (filled - room), b"")
    assert [line[:3] for line in replies.splitlines() if line][-3:] == [b"250", b"252", b"250"]


def client(transport: Transport) -> ClientChannel:
    """A channel that a server has greeted."""
    channel = ClientChannel(Clock(), 10.0)
    channel.makeConnection(transport)
    channel.dataReceived(b"220 mx.example.org\r\n")
    SynchronousTestCase().successResultOf(Deferred.fromCoroutine(channel.greeting()))
    return channel


def test_commands_and_content_do_not_wait_for_the_reactor(ends: tuple[Transport, socket.socket]) -> None:
    transport, theirs = ends
    channel = client(transport)
    allowed = Deferred.fromCoroutine(channel.command("DATA", 1.0, (3,)))
    channel.dataReceived(b"354 go on\r\n")
    SynchronousTestCase().successResultOf(allowed)
    SynchronousTestCase().successResultOf(Deferred.fromCoroutine(channel.write(b"content\r\n", 1.0)))
    channel.write_end(b".\r\n")
    assert theirs.recv(1000) == b"DATA\r\ncontent\r\n.\r\n"
    assert not transport.reactor.writers  # type: ignore[attr-defined]


def test_content_beyond_what_the_socket_takes_is_waited_for_and_not_overtaken(
    ends: tuple[Transport, socket.socket],
) -> None:
    transport, theirs = ends
    channel = client(transport)
    content = b"x" * 4_000_000
    written = Deferred.fromCoroutine(channel.write(content, 1.0))
    SynchronousTestCase().assertNoResult(written)
    room = len(theirs.recv(100_000))  # now the socket would take what comes next
    channel.write_end(b".\r\n")
    assert read(theirs, transport) == content[room:] + b".\r\n"
    SynchronousTestCase().successResultOf(written)
    channel.send("QUIT")
    assert theirs.recv(1000) == b"QUIT\r\n"
