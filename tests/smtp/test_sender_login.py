"""Logging in, with a scripted server over a real connection."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from mailagent.smtp.client_auth import Login
from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.sender import open_session
from mailagent.smtp.sending_failed import LoginFailed, NotSecure, ProtocolError, SendingFailed
from mailagent.smtp.timeouts import Timeouts
from tests.maildir.support import logged
from tests.smtp.scripted_server import PASSWORD, SILENCE, USER, ScriptedServer


def as_user(password: str = PASSWORD) -> Login:
    return Login(USER, password, lambda call: succeed(call()))


class LoginTests(TestCase):
    """Each test with a server of its own, on loopback, where a password may go without TLS."""

    timeout = 30

    def setUp(self) -> None:
        self.events = self.enterContext(logged())

    def serve(self, mechanisms: str, **replies: str | None) -> ScriptedServer:
        server = ScriptedServer({"EHLO": f"250-scripted.example\r\n250 AUTH {mechanisms}", **replies})
        self.addCleanup(server.__exit__, None, None, None)
        return server.__enter__()

    async def log_in(self, server: ScriptedServer, login: Login | None = None, **timeouts: float) -> None:
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", server.server_address[1])
        session = await open_session(endpoint, reactor, "c.example", Timeouts(**timeouts), None, login or as_user())
        await session.quit()

    async def failure(self, server: ScriptedServer, *args: Any, **options: Any) -> SendingFailed:
        with pytest.raises(SendingFailed) as caught:
            await self.log_in(server, *args, **options)
        return caught.value

    async def test_the_best_mechanism_offered_is_used(self) -> None:
        for offer, used in [
            ("LOGIN PLAIN SCRAM-SHA-256", "SCRAM-SHA-256"),
            ("login plain cram-md5", "PLAIN"),
            ("XOAUTH2 LOGIN", "LOGIN"),
        ]:
            server = self.serve(offer)
            await self.log_in(server)
            assert server.logins == [used]

    async def test_a_long_response_waits_for_its_challenge(self) -> None:
        server = self.serve("PLAIN")
        await self.failure(server, as_user("x" * 400))
        assert server.sessions[0][1] == b"AUTH PLAIN"

    async def test_a_mechanism_the_server_does_not_know_after_all_gives_way_to_the_next(self) -> None:
        server = self.serve("PLAIN SCRAM-SHA-256", AUTH="504 5.5.4 Not that one")
        await self.failure(server)
        assert [line.split()[1] for line in server.sessions[0][1:3]] == [b"SCRAM-SHA-256", b"PLAIN"]

    async def test_a_wrong_password_is_refused_once_and_by_the_servers_words(self) -> None:
        for offer in ("PLAIN LOGIN", "LOGIN", "SCRAM-SHA-256 PLAIN"):
            server = self.serve(offer)
            failure = await self.failure(server, as_user("wrong"))
            assert isinstance(failure, LoginFailed)
            assert failure.reason == "the server refuses the login: 535 5.7.8 Wrong"
            assert server.sessions[0][-1] == b"QUIT"
            assert server.logins == []

    async def test_no_mechanism_in_common_is_told(self) -> None:
        failure = await self.failure(self.serve("XOAUTH2"))
        assert isinstance(failure, LoginFailed)
        assert "no way to log in" in failure.reason

    async def test_a_server_that_has_not_proven_to_know_the_password_is_not_believed(self) -> None:
        assert isinstance(await self.failure(self.serve("SCRAM-SHA-256", AUTH="235 2.7.0 Welcome")), ProtocolError)

    async def test_challenges_without_sense_end_the_session(self) -> None:
        for challenge in ("334 !", "334 AAAA", "354 Go on"):
            assert isinstance(await self.failure(self.serve("PLAIN", AUTH=challenge)), ProtocolError)

    async def test_no_secret_is_in_the_log_or_an_error(self) -> None:
        for offer in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
            await self.log_in(self.serve(offer))
        failure = await self.failure(self.serve("PLAIN", AUTH=SILENCE), command=0.2)
        told = [event.get("command") or event.get("reply") for event in self.events if "event" in event]
        assert set(told) >= {"AUTH PLAIN", "AUTH LOGIN", "AUTH SCRAM-SHA-256", "(a response)", "334 (a challenge)"}
        assert not any(secret in str([told, failure]) for secret in ("AGFubg", "YW5u", "bixh", PASSWORD))
        assert failure.reason.endswith("(waiting for: AUTH PLAIN)")


class FarAway:
    """An endpoint whose server is not on this machine."""

    def connect(self, factory: Any) -> Any:
        channel = factory.buildProtocol(None)
        assert isinstance(channel, ClientChannel)
        self.transport = StringTransport()  # its peer is 192.168.1.1
        channel.makeConnection(self.transport)
        channel.dataReceived(b"220 mx.example.org\r\n")
        reply = b"250-mx.example.org\r\n250 AUTH PLAIN\r\n"
        self.transport.write = lambda _: reactor.callLater(0, channel.dataReceived, reply)  # type: ignore
        return succeed(channel)


class FarAwayTests(TestCase):
    """Whatever the caller believes about the server's name."""

    async def test_no_password_goes_over_a_network_without_tls(self) -> None:
        with pytest.raises(NotSecure, match="never sent"):
            await open_session(FarAway(), Clock(), "c.example", login=as_user())  # type: ignore[arg-type]
