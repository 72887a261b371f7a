"""Submission by users of this machine: who sent is told, and sender addresses are not looked at."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport

from mailagent.reception.local_submission import LocalSubmission
from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.role import LOCAL
from mailagent.smtp.session import Session
from tests.memory_server import Connection, MemoryServer, codes, transaction


class LocalTransport(StringTransport):
    """A server's end of a local socket, whose other end this process holds."""

    def __init__(self, pair: tuple[socket.socket, socket.socket]) -> None:
        super().__init__(peerAddress=UNIXAddress(None))
        self.socket = pair[0]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair(socket.AF_UNIX)
    yield ends
    for end in ends:
        end.close()


def connect(server: MemoryServer, pair: tuple[socket.socket, socket.socket], name: Deferred[str]) -> Connection:
    deliveries = LocalSubmission.of(server.reception, lambda number: name)
    factory = SessionFactory(
        server.reception,
        server.config.hostname,
        server.config.limits,
        server.clock,
        role_deliveries={LOCAL.name: deliveries},
    )
    session = factory.listener(LOCAL).buildProtocol(UNIXAddress(None))
    assert isinstance(session, Session)
    transport = LocalTransport(pair)
    session.makeConnection(transport)
    connection = Connection(session, transport)
    connection.greet()
    return connection


def test_the_trace_field_names_the_user_whom_the_system_names(pair: tuple[socket.socket, socket.socket]) -> None:
    server = MemoryServer()
    replies = connect(server, pair, succeed("www-data")).send(transaction("user1@hostmeister.de"))
    assert codes(replies)[-1] == "250 2.0.0"
    (stored,) = server.stored("user1")
    assert b"\nReceived: by mx.example.org (from user www-data, number %d) id " % os.getuid() in stored
    assert b"\tfor <user1@hostmeister.de>;\n" in stored


def test_one_user_of_this_machine_cannot_take_all_the_sessions(pair: tuple[socket.socket, socket.socket]) -> None:
    server = MemoryServer(sessions_per_network=2)
    factory = SessionFactory(server.reception, "mx.example.org", server.config.limits, server.clock)
    connections: list[Connection] = []
    for _ in range(3):
        session = factory.listener(LOCAL).buildProtocol(UNIXAddress(None))
        assert isinstance(session, Session)
        transport = LocalTransport(pair)
        session.makeConnection(transport)
        connections.append(Connection(session, transport))
    assert [codes(connection.received()) for connection in connections] == [["220"], ["220"], ["421 4.7.0"]]


def test_any_sender_may_be_given_and_what_is_missing_is_added(pair: tuple[socket.socket, socket.socket]) -> None:
    server = MemoryServer()
    client = connect(server, pair, succeed("ann"))
    assert codes(client.send(transaction("user1@hostmeister.de", sender="root@elsewhere.example")))[-1] == "250 2.0.0"
    (stored,) = server.stored("user1")
    assert b"Return-Path: <root@elsewhere.example>\n" in stored
    assert b"\nDate: " in stored
    assert b"\nMessage-ID: <" in stored


def test_the_recipient_waits_until_the_users_name_is_known(pair: tuple[socket.socket, socket.socket]) -> None:
    name: Deferred[str] = Deferred()
    client = connect(MemoryServer(), pair, name)
    assert codes(client.send(b"MAIL FROM:<>\r\nRCPT TO:<user1@hostmeister.de>\r\n")) == ["250 2.1.0"]
    name.callback("ann")
    assert codes(client.received()) == ["250 2.1.5"]


def test_an_unknown_user_is_refused_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    client = connect(MemoryServer(), pair, succeed("ann"))
    assert codes(client.send(b"MAIL FROM:<>\r\nRCPT TO:<nobody@hostmeister.de>\r\n")) == ["250 2.1.0", "550 5.1.1"]
