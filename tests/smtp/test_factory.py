"""All sessions together: configured alike, drained in good order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.role import MX, SUBMISSION, SUBMISSIONS
from mailagent.smtp.session import Session
from mailagent.smtp.tls import CertificatePlan, ServerTLS, read
from tests.memory_server import Connection, MemoryServer, codes, transaction
from tests.smtp.certificates import write_pair

ADDRESS = IPv4Address("TCP", "192.0.2.7", 40000)


class DrainTests(SynchronousTestCase):
    """A graceful stop."""

    def setUp(self) -> None:
        self.jobs: list[Deferred[None]] = []
        self.server = MemoryServer(run_in_thread=self.run_later)
        self.idle = self.connected()

    def run_later(self, function: Any, *args: Any) -> Deferred[None]:
        self.jobs.append(Deferred())
        return self.jobs[-1].addCallback(lambda _: function(*args))

    def connected(self) -> Connection:
        connection = self.server.connect()
        connection.greet()
        return connection

    def test_with_nobody_there_it_is_done_at_once(self) -> None:
        self.idle.lose()
        self.successResultOf(self.server.factory.drain(30))

    def test_idle_peers_are_told_421_and_closed(self) -> None:
        drained = self.server.factory.drain(30)
        assert codes(self.idle.received()) == ["421 4.3.2"]
        assert self.idle.closed
        self.assertNoResult(drained)
        self.idle.finish()
        self.successResultOf(drained)

    def test_new_connections_are_not_taken(self) -> None:
        self.server.factory.drain(30)
        assert self.server.factory.buildProtocol(None) is None

    def test_an_open_transaction_finishes_and_the_next_mail_gets_421(self) -> None:
        busy = self.connected()
        busy.send(b"MAIL FROM:<a@b>\r\n")
        drained = self.server.factory.drain(30)
        self.idle.finish()
        assert not busy.closed
        rest = transaction("user1@hostmeister.de").split(b"\r\n", 1)[1]
        assert codes(busy.send(rest + b"MAIL FROM:<a@b>\r\n"))[:2] == ["250 2.1.5", "354"]
        self.assertNoResult(drained)
        self.jobs.pop().callback(None)
        assert codes(busy.received()) == ["250 2.0.0", "421 4.3.2"]
        busy.finish()
        self.successResultOf(drained)
        assert len(self.server.stored("user1")) == 1
        assert self.server.clock.getDelayedCalls() == []

    def test_a_transaction_that_is_given_up_ends_the_session(self) -> None:
        busy = self.connected()
        busy.send(b"MAIL FROM:<a@b>\r\n")
        self.server.factory.drain(30)
        assert codes(busy.send(b"RSET\r\n")) == ["250 2.0.0", "421 4.3.2"]
        assert busy.closed

    def test_a_transaction_has_only_so_long(self) -> None:
        busy = self.connected()
        busy.send(b"MAIL FROM:<a@b>\r\n")
        drained = self.server.factory.drain(30)
        self.idle.finish()
        self.server.clock.advance(30)
        assert codes(busy.received())[-1] == "421 4.3.2"
        assert busy.closed
        busy.finish()
        self.successResultOf(drained)

    def test_a_peer_that_does_not_go_is_not_waited_for(self) -> None:
        drained = self.server.factory.drain(1)
        self.server.clock.advance(1)
        assert not self.idle.transport.disconnected
        self.server.clock.advance(1)
        assert self.idle.transport.disconnected
        self.successResultOf(drained)

    def test_an_abort_does_not_wait_for_the_time(self) -> None:
        busy = self.connected()
        busy.send(b"MAIL FROM:<a@b>\r\n")
        self.server.factory.drain(30)
        self.server.factory.abort()
        assert busy.closed

    def test_a_session_that_fails_keeps_no_other_from_its_end(self) -> None:
        def fail() -> None:
            raise RuntimeError("broken")

        others = [self.connected(), self.connected()]
        for name in ("drain", "abort"):
            setattr(self.idle.session, name, fail)
        drained = self.server.factory.drain(30)
        for other in others:
            assert codes(other.received()) == ["421 4.3.2"]
            other.finish()
        self.server.factory.abort()
        self.server.clock.advance(1)
        assert self.idle.transport.disconnected
        self.successResultOf(drained)

    def test_a_transport_that_fails_does_not_keep_a_drain_from_its_end(self) -> None:
        self.idle.transport.abortConnection = None  # type: ignore[method-assign, assignment]
        drained = self.server.factory.drain(0.5)
        self.server.clock.advance(0.5)
        self.server.clock.advance(1)
        self.successResultOf(drained)

    def test_an_abort_without_a_drain_does_nothing(self) -> None:
        self.server.factory.abort()
        assert not self.idle.closed


def test_a_listener_makes_sessions_of_its_role_that_are_the_factorys() -> None:
    server = MemoryServer()
    session = server.factory.listener(SUBMISSION).buildProtocol(ADDRESS)
    assert isinstance(session, Session)
    assert session.role is SUBMISSION
    connected = server.connect().session
    assert connected.role is MX
    assert server.factory.sessions == {connected}


def test_a_listener_with_tls_from_the_first_octet_needs_a_certificate() -> None:
    server = MemoryServer()
    with pytest.raises(ValueError, match="submissions needs TLS"):
        server.factory.listener(SUBMISSIONS)


def test_a_client_that_never_shakes_hands_is_cut_off(tmp_path: Path) -> None:
    server = MemoryServer(idle_time=60.0)
    tls = ServerTLS(server.clock.seconds)
    tls.use(read(CertificatePlan(write_pair(tmp_path, "mx.example"))))
    factory = SessionFactory(server.reception, "mx.example", server.config.limits, server.clock, tls)
    wrapped: Any = factory.listener(SUBMISSIONS).buildProtocol(ADDRESS)
    transport = StringTransport(peerAddress=ADDRESS)
    wrapped.makeConnection(transport)
    server.clock.advance(60)
    server.clock.advance(10)
    assert transport.disconnected


def test_a_session_whose_tls_cannot_begin_is_not_waited_for() -> None:
    server = MemoryServer()
    tls = ServerTLS(server.clock.seconds)  # without a certificate
    factory = SessionFactory(server.reception, "mx.example", server.config.limits, server.clock, tls)
    wrapped: Any = factory.listener(SUBMISSIONS).buildProtocol(ADDRESS)
    with pytest.raises(KeyError):
        wrapped.makeConnection(StringTransport(peerAddress=ADDRESS))
    assert factory.drain(30).called


def test_a_listener_with_tls_turns_clients_away_as_others_do() -> None:
    server = MemoryServer()
    factory = SessionFactory(
        server.reception, "mx.example", server.config.limits, server.clock, ServerTLS(server.clock.seconds)
    )
    factory.drain(1.0)
    assert factory.listener(SUBMISSIONS).buildProtocol(ADDRESS) is None
    assert factory.listener(SUBMISSION).buildProtocol(ADDRESS) is None
