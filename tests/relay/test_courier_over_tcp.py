"""The courier over real sockets: a real DNS server, a real mail server, real TLS."""

from __future__ import annotations

import socketserver
import tempfile
import threading
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailagent.config import Config
from mailagent.config.values import ConfiguredPath, Port
from mailagent.dns.resolver import Resolver
from mailagent.interfaces import Attempted
from mailagent.relay.courier import Courier
from mailagent.relay.ourselves import Ourselves
from mailagent.relay.sessions import Sessions, endpoint
from tests.dns_server import serving
from tests.relay.internet import configured, everything, replies, to, to_ann
from tests.smtp.outgoing_server import OutgoingServer
from tests.smtp.scripted_server import ScriptedServer, authority, server_tls

OFFER = "250-scripted.example\r\n250 STARTTLS"
ZONE = {"d.example": {"MX": ["10 mx.d.example."]}, "mx.d.example": {"A": ["127.0.0.1"]}}


class CourierTests(TestCase):
    """Each test with servers of its own."""

    timeout = 30

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.authorities = Path(folder.name) / "ca.pem"
        self.authorities.write_bytes(authority().cert_pem.bytes())
        names = serving(ZONE)
        self.dns = names.__enter__()
        self.addCleanup(names.__exit__, None, None, None)

    def serve(self, certificate_for: str) -> ScriptedServer:
        server = ScriptedServer({"EHLO": OFFER}, server_tls(certificate_for), False)
        self.addCleanup(server.__exit__, None, None, None)
        return server.__enter__()

    def courier(self, server: ScriptedServer, tls: str) -> Courier:
        port = Port(server.server_address[1])
        return self.make_courier(configured(tls, port=port, authorities=ConfiguredPath(str(self.authorities))))

    def make_courier(self, config: Config) -> Courier:
        clock: Any = reactor
        sessions = Sessions(lambda: config, clock, partial(endpoint, reactor), deferToThread)
        resolver = Resolver(deferToThread, clock.seconds, lambda: self.dns.address)
        courier = Courier(lambda: config, clock, resolver, Ourselves("us.example", list), sessions, Random(0).shuffle)
        self.addCleanup(courier.close)
        return courier

    async def deliver(self, certificate_for: str, tls: str, times: int = 1) -> tuple[ScriptedServer, list[Attempted]]:
        server = self.serve(certificate_for)
        courier = self.courier(server, tls)
        return server, [await courier.deliver(to_ann()) for _ in range(times)]

    async def test_two_messages_go_over_one_verified_connection(self) -> None:
        server, attempts = await self.deliver("mx.d.example", "verify", times=2)
        assert [replies(each) for each in attempts] == [["250 2.0.0 Stored"]] * 2
        hop = attempts[0].outcomes[0].hop
        assert (hop.host, hop.address) == ("mx.d.example", "127.0.0.1")
        assert hop.tls.startswith("TLSv1.")
        assert len(server.sessions) == 1
        assert len(server.messages) == 2

    async def test_a_certificate_for_another_name_is_no_hindrance_unless_verified(self) -> None:
        _, (attempted,) = await self.deliver("elsewhere.example", "require")
        assert attempted.outcomes[0].delivered
        assert attempted.outcomes[0].hop.tls
        server, (attempted,) = await self.deliver("elsewhere.example", "verify")
        assert [reply[:9] for reply in replies(attempted)] == ["451 4.7.5"]
        assert server.messages == []

    async def test_a_handshake_that_fails_has_the_message_go_in_the_clear_if_it_may(self) -> None:
        server = self.serve("mx.d.example")
        assert server.tls is not None
        server.tls.set_ciphers("AES128-SHA")  # nothing we take
        server.tls.maximum_version = server.tls.minimum_version
        attempted = await self.courier(server, "may").deliver(to_ann())
        assert attempted.outcomes[0].delivered
        assert attempted.outcomes[0].hop.tls == ""
        assert len(server.sessions) == 2

    async def test_nobody_at_the_address_defers_and_holds(self) -> None:
        server = self.serve("mx.d.example")
        courier = self.courier(server, "may")
        server.__exit__(None, None, None)
        attempted = await courier.deliver(to_ann())
        assert [reply[:9] for reply in replies(attempted)] == ["451 4.4.1"]
        assert 0 < attempted.hold <= 60

    async def test_lmtp_goes_over_a_local_socket(self) -> None:
        lmtp = OutgoingServer({"LHLO": "250 mx"})

        class Session(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(lmtp.greet())
                while octets := self.request.recv(65536):
                    self.request.sendall(lmtp.receive(octets))

        path = self.authorities.with_name("lmtp")
        server = socketserver.ThreadingUnixStreamServer(str(path), Session)
        server.daemon_threads = True  # to wait for them would keep the reactor from closing their connections
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        attempted = await self.make_courier(everything(to(f"lmtp:unix:{path}"))).deliver(to_ann())
        assert replies(attempted) == ["250 2.0.0 OK"]
        assert len(lmtp.messages) == 1
