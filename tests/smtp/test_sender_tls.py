"""Sessions under TLS, with a scripted server; what may go wrong on the way there."""

from __future__ import annotations

import re
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Hop
from mailagent.smtp.client_tls import ClientTLS, opportunistic, verified
from mailagent.smtp.sender import Sender, open_session
from mailagent.smtp.sending_failed import HandshakeBroken, NotSecure, ProtocolError, SendingFailed
from mailagent.smtp.timeouts import Timeouts
from tests.smtp.scripted_server import DROP, SILENCE, ScriptedServer, authority, server_tls

ENVELOPE = Envelope(Address("eve", "example.com"), (Address("ann", "example.org"),))
LARGE = [(b"%d" % number * 500)[:998] + b"\n" for number in range(10, 99)] * 50
OFFER = "250-scripted.example\r\n250 STARTTLS"


class TLSTests(TestCase):
    """Each test with a server of its own."""

    timeout = 30

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authorities = self.folder / "ca.pem"
        self.authorities.write_bytes(authority().cert_pem.bytes())

    def serve(self, name: str = "127.0.0.1", implicit: bool = False, **replies: str | None) -> ScriptedServer:
        server = ScriptedServer({"EHLO": OFFER, **replies}, server_tls(name), implicit)
        self.addCleanup(server.__exit__, None, None, None)
        return server.__enter__()

    def connect(self, server: ScriptedServer, authorities: Path | None = None, seconds: float = 20) -> Any:
        tls = ClientTLS(verified("127.0.0.1", authorities or self.authorities), server.implicit)
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", server.server_address[1])
        return open_session(endpoint, reactor, "client.example", Timeouts(tls=seconds), tls)

    async def failure(self, server: ScriptedServer, **options: Any) -> SendingFailed:
        with pytest.raises(SendingFailed) as caught:
            await self.connect(server, **options)
        return caught.value

    async def submit(self, sender: Sender) -> None:
        (outcome,) = await sender.submit(ENVELOPE, LARGE)
        await sender.quit()
        assert outcome.delivered

    async def test_a_message_goes_over_starttls_whole_and_nothing_but_the_greeting_in_the_clear(self) -> None:
        server = self.serve()
        await self.submit(await self.connect(server))
        (session,) = server.sessions
        assert session[:3] == [b"EHLO client.example", b"STARTTLS", b"EHLO client.example"]
        assert len(server.secure) == len(session) - 3  # the message is no command
        assert server.messages == [b"".join(LARGE).replace(b"\n", b"\r\n") + b".\r\n"]

    async def test_content_that_is_waited_for_goes_over_tls_whole(self) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            for block in LARGE[::50]:
                yield await deferToThread(lambda block=block: block)  # type: ignore[misc]

        server = self.serve(EHLO=f"{OFFER[:-12]}250-PIPELINING\r\n250 STARTTLS")
        sender = await self.connect(server)
        (outcome,) = await sender.submit(ENVELOPE, blocks())
        await sender.quit()
        assert outcome.delivered
        assert server.messages == [b"".join(LARGE[::50]).replace(b"\n", b"\r\n") + b".\r\n"]

    async def test_a_message_goes_over_implicit_tls_whole(self) -> None:
        server = self.serve(implicit=True)
        await self.submit(await self.connect(server))
        assert server.secure[0] == b"EHLO client.example"
        assert server.messages == [b"".join(LARGE).replace(b"\n", b"\r\n") + b".\r\n"]

    async def test_what_was_offered_in_the_clear_counts_no_more_under_tls(self) -> None:
        server = self.serve(EHLO="250-scripted.example\r\n250-AUTH PLAIN\r\n250 STARTTLS")
        server.under_tls["EHLO"] = "250-scripted.example\r\n250 SIZE 1"
        sender = await self.connect(server)
        await sender.quit()
        assert sender.extensions == {"SIZE": "1"}

    async def test_a_server_that_knows_no_ehlo_under_tls_offers_nothing(self) -> None:
        server = self.serve()
        server.under_tls["EHLO"] = "502 5.5.1 What?"
        sender = await self.connect(server)
        await sender.quit()
        assert sender.extensions == {}

    async def test_an_offer_in_small_letters_is_an_offer(self) -> None:
        """Stock C{ESMTPClient} looks for C{STARTTLS} as it is written, and goes on in the clear."""
        server = self.serve(EHLO="250-scripted.example\r\n250 starttls")
        await self.submit(await self.connect(server))
        assert server.secure

    async def test_no_offer_ends_the_session_before_anything_is_said(self) -> None:
        server = self.serve(EHLO="250 scripted.example")
        failure = await self.failure(server)
        assert isinstance(failure, NotSecure)
        assert "offers no TLS" in failure.reason
        assert server.sessions == [[b"EHLO client.example", b"QUIT"]]

    async def test_a_refusal_ends_the_session_with_the_servers_words(self) -> None:
        failure = await self.failure(self.serve(STARTTLS="454 4.7.0 Not now"))
        assert isinstance(failure, NotSecure)
        assert str(failure.verdict) == "454 4.7.0 Not now"

    async def test_replies_behind_the_220_are_not_taken_for_replies_under_tls(self) -> None:
        """Stock C{ESMTPClient} takes what came in one segment with the 220 for the answer to its EHLO under TLS: what
        CVE-2011-0411 is for servers."""
        for injected in ("250 attacker.example", "250-attacker.example\r\n250 AUTH PLAIN", "250-attacker.exa", "2"):
            server = self.serve(STARTTLS=f"220 Go\r\n{injected}")
            assert isinstance(await self.failure(server), ProtocolError)
            assert server.secure == []

    async def test_another_name_is_not_the_server_that_was_meant(self) -> None:
        for implicit in (False, True):
            server = self.serve("mx.example.org", implicit)
            failure = await self.failure(server)
            assert isinstance(failure, NotSecure)
            assert "not for the name" in failure.reason
            assert server.secure == []

    async def test_an_unknown_authority_is_not_trusted(self) -> None:
        other = self.folder / "other.pem"
        other.write_bytes(trustme.CA().cert_pem.bytes())
        for implicit in (False, True):
            server = self.serve(implicit=implicit)
            failure = await self.failure(server, authorities=other)
            assert isinstance(failure, NotSecure)
            assert "is not trusted" in failure.reason
            assert server.secure == []

    async def test_tls_below_1_2_is_none(self) -> None:
        server = self.serve()
        assert server.tls is not None
        server.tls.set_ciphers("DEFAULT@SECLEVEL=0")
        server.tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            server.tls.maximum_version = ssl.TLSVersion.TLSv1_1
        assert isinstance(await self.failure(server), NotSecure)

    async def test_a_server_that_does_not_speak_tls_is_told(self) -> None:
        plain = self.serve()
        tls = ClientTLS(verified("127.0.0.1", self.authorities), implicit=True)
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", plain.server_address[1])
        with pytest.raises(NotSecure, match="TLS failed: wrong version number"):
            await open_session(endpoint, reactor, "client.example", tls=tls)

    async def test_a_handshake_without_answer_is_given_up(self) -> None:
        server = self.serve()
        server.stalls = True
        assert "waiting for: the TLS handshake" in (await self.failure(server, seconds=0.1)).reason

    async def test_a_connection_lost_in_the_handshake_fails_at_once(self) -> None:
        assert "closed the connection" in (await self.failure(self.serve(STARTTLS=DROP))).reason

    async def test_silence_after_starttls_is_given_up(self) -> None:
        server = self.serve(STARTTLS=SILENCE)
        tls = ClientTLS(verified("127.0.0.1", self.authorities))
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", server.server_address[1])
        with pytest.raises(SendingFailed, match="no answer"):
            await open_session(endpoint, reactor, "client.example", Timeouts(command=0.01), tls)

    async def hop(self, server: ScriptedServer, tls: ClientTLS | None, **options: Any) -> tuple[Hop, bool]:
        """Of a session: the hop that an outcome tells of, and whether it counts as verified."""
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", server.server_address[1])
        sender = await open_session(endpoint, reactor, "c.example", tls=tls, host="mx.example", **options)
        (outcome,) = await sender.submit(ENVELOPE, [b"x"])
        await sender.quit()
        return outcome.hop, sender.verified

    async def test_an_outcome_tells_the_tls_it_came_over(self) -> None:
        for implicit in (False, True):
            tls = ClientTLS(verified("127.0.0.1", self.authorities), implicit)
            hop, is_verified = await self.hop(self.serve(implicit=implicit), tls)
            assert (hop.host, hop.address) == ("mx.example", "127.0.0.1")
            assert hop.tls.startswith("TLSv1.3 with cipher ")
            assert is_verified

    async def test_opportunistic_tls_takes_whoever_answers_and_is_not_verified(self) -> None:
        server = self.serve("another.example")
        hop, is_verified = await self.hop(server, ClientTLS(opportunistic("mx.example."), optional=True))
        assert hop.tls
        assert server.secure
        assert not is_verified

    async def test_optional_tls_goes_on_in_the_clear_where_it_is_not_to_be_had(self) -> None:
        tls = ClientTLS(opportunistic("mx.example"), optional=True)
        for server in (self.serve(EHLO="250 scripted.example"), self.serve(STARTTLS="454 4.7.0 Not now")):
            hop, is_verified = await self.hop(server, tls)
            assert hop.tls == ""
            assert not is_verified
            assert len(server.messages) == 1

    async def test_optional_tls_that_breaks_in_the_handshake_is_no_session(self) -> None:
        server = self.serve(STARTTLS=SILENCE)
        server.replies["STARTTLS"] = "220 Go"
        server.stalls = True
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", server.server_address[1])
        tls = ClientTLS(opportunistic("127.0.0.1"), optional=True)
        with pytest.raises(HandshakeBroken):
            await open_session(endpoint, reactor, "c.example", Timeouts(tls=0.1), tls)

    async def test_without_tls_nothing_is_verified(self) -> None:
        assert await self.hop(self.serve(), None) == (Hop("mx.example", "127.0.0.1", ""), False)


@pytest.mark.parametrize("name", ["mx.example.org", "b\xfccher.example", "192.0.2.1", "2001:db8::1"])
def test_who_takes_anybody_never_counts_as_verified(name: str) -> None:
    assert not ClientTLS(opportunistic(name)).verified
    assert ClientTLS(verified("mx.example.org")).verified


@pytest.mark.parametrize(("name", "asked"), [("MX.example.org.", b"mx.example.org"), ("192.0.2.1", None)])
def test_the_servers_name_is_asked_for_and_an_address_is_not(name: str, asked: bytes | None) -> None:
    connection = opportunistic(name).clientConnectionForTLS(None)  # type: ignore[arg-type]
    assert connection.get_servername() == asked


@pytest.mark.parametrize(
    "content", [b"", b"nothing of the kind", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"]
)
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ValueError, match="in it"):
        verified("mx.example.org", tmp_path / "ca.pem")


def test_every_certificate_of_a_file_is_trusted(tmp_path: Path) -> None:
    both = trustme.CA().cert_pem.bytes() + authority().cert_pem.bytes()
    assert len(re.findall(b"BEGIN CERTIFICATE", both)) == 2
    (tmp_path / "ca.pem").write_bytes(both)
    assert verified("mx.example.org", tmp_path / "ca.pem")
