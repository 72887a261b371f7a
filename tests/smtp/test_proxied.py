"""The PROXY protocol: its header, and whose word is taken."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.testing import StringTransport

from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.proxied import ProxiedFactory, Proxies
from mailagent.smtp.proxy_header import Origin, parse
from mailagent.smtp.role import SUBMISSIONS
from mailagent.smtp.tls import CertificatePlan, ServerTLS, read
from tests.maildir.support import Threads, run_now
from tests.memory_server import MemoryServer, codes
from tests.smtp.certificates import write_pair

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ips = st.ip_addresses(v=4) | st.ip_addresses(v=6)
ports = st.integers(0, 65535)


def v1(address: str, port: int) -> bytes:
    return f"PROXY {'TCP6' if ':' in address else 'TCP4'} {address} {address} {port} 25\r\n".encode()


def v2(address: str, port: int, extension: bytes = b"") -> bytes:
    packed = ipaddress.ip_address(address).packed
    body = packed * 2 + port.to_bytes(2, "big") + b"\0\x19" + extension
    return SIGNATURE + bytes([0x21, 0x11 if len(packed) == 4 else 0x21]) + len(body).to_bytes(2, "big") + body


@given(ips, ports, st.sampled_from([v1, v2, lambda address, port: v2(address, port, b"\4\0\3abc")]))
def test_a_header_tells_the_client_once_it_is_whole(address: ipaddress.IPv4Address, port: int, write: object) -> None:
    header: bytes = write(str(address), port)  # type: ignore[operator]
    assert parse(header + b"EHLO x\r\n") == (Origin(str(address), port), len(header))
    assert all(parse(header[:length]) is None for length in range(len(header)))


@given(
    st.binary(max_size=60), st.sampled_from([b"", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c", b"PROXY ", b"PROXY TCP4 "])
)
def test_no_octets_raise_anything_but_a_value_error(octets: bytes, beginning: bytes) -> None:
    with suppress(ValueError):
        parse(beginning + octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO x\r\n", b"PROXY TCP4 ::1 ::1 1 2\r\n", b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 70000 25\r\n", b"PROXY " + b"x" * 120, SIGNATURE + b"\x31\x11\0\0",
        SIGNATURE + b"\x21\x11\0\x04abcd", SIGNATURE + b"\x21\x11\xff\xff", b"proxy tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
    ],
)  # fmt: skip
def test_what_is_no_header_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(octets)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0", SIGNATURE + b"\x21\x31\0\0"])
def test_a_proxy_may_speak_for_itself(header: bytes) -> None:
    assert parse(header) == (None, len(header))


class Proxied:
    """A server whose listener believes 198.51.100.0/24, and one connection to it."""

    def __init__(
        self, peer: str, run_in_thread: Callable[..., Any] = run_now, factory: IProtocolFactory | None = None
    ) -> None:
        self.server = MemoryServer(run_in_thread=run_in_thread)
        factory = ProxiedFactory(factory or self.server.factory, Proxies.of(["198.51.100.0/24"]), self.server.clock)
        address = IPv4Address("TCP", peer, 1)
        self.transport = StringTransport(peerAddress=address)
        self.protocol = factory.buildProtocol(address)
        self.protocol.makeConnection(self.transport)

    def close_theirs(self) -> None:
        """A FIN arrives, and the transport does what TCP's does."""
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self.transport.loseConnection()
        else:
            protocol.readConnectionLost()

    def send(self, octets: bytes) -> list[str]:
        self.transport.clear()
        self.protocol.dataReceived(octets)
        return codes(self.transport.value())


@pytest.mark.parametrize("header", [v1("192.0.2.99", 7), v2("192.0.2.99", 7)])
def test_a_listed_proxy_is_believed(header: bytes) -> None:
    proxied = Proxied("198.51.100.1")
    assert proxied.transport.value() == b""
    assert proxied.send(header) == ["220"]
    (session,) = proxied.server.factory.sessions
    assert str(session.peer) == "192.0.2.99:7"
    assert proxied.send(b"NOOP\r\n") == ["250 2.0.0"]


def test_nobody_else_is_believed() -> None:
    stranger = Proxied("203.0.113.1")
    assert stranger.transport.value().startswith(b"220 ")
    assert stranger.send(v1("127.0.0.1", 7)) == ["500 5.5.2"]
    (session,) = stranger.server.factory.sessions
    assert session.peer.address == "203.0.113.1"


def test_a_proxy_that_says_something_else_or_nothing_is_cut_off() -> None:
    talking, silent = Proxied("198.51.100.1"), Proxied("198.51.100.1")
    assert talking.send(b"EHLO x\r\n") == []
    assert talking.transport.disconnected
    silent.server.clock.advance(9)
    assert not silent.transport.disconnected
    silent.server.clock.advance(1)
    assert silent.transport.disconnected
    assert not silent.server.factory.sessions


def test_a_client_that_has_said_all_gets_its_replies_through_a_proxy_too() -> None:
    jobs = Threads()
    proxied = Proxied("198.51.100.1", run_in_thread=jobs.run)
    proxied.send(v1("192.0.2.99", 7))
    proxied.send(b"EHLO x\r\n")
    proxied.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<user1@hostmeister.de>\r\nDATA\r\n")
    proxied.send(b"S: x\r\n.\r\nQUIT\r\n")
    proxied.close_theirs()
    assert not proxied.transport.disconnecting
    jobs.finish_all()
    assert codes(proxied.transport.value())[-2:] == ["250 2.0.0", "221 2.0.0"]
    assert proxied.transport.disconnecting


def test_a_proxy_that_goes_before_its_header_is_let_go() -> None:
    proxied = Proxied("198.51.100.1")
    proxied.close_theirs()
    assert proxied.transport.disconnecting


def test_a_client_that_leaves_tls_behind_a_proxy_without_a_word_is_let_go(tmp_path: Path) -> None:
    server = MemoryServer()
    tls = ServerTLS(server.clock.seconds)
    tls.use(read(CertificatePlan(write_pair(tmp_path, "mx.example"))))
    sessions = SessionFactory(server.reception, "mx.example", server.config.limits, server.clock, tls)
    proxied = Proxied("198.51.100.1", factory=sessions.listener(SUBMISSIONS))
    proxied.send(v1("192.0.2.99", 7))
    proxied.close_theirs()
    assert proxied.transport.disconnecting
