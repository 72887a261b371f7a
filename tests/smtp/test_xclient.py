"""XCLIENT: a listed proxy tells who its client is, and nobody else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.peer import Peer
from mailagent.smtp.proxied import Proxies
from mailagent.smtp.role import SUBMISSION
from mailagent.smtp.xclient import OFFERED, parse
from tests.memory_server import Connection, MemoryServer, codes, transaction

PROXY = "192.0.2.20"
BEFORE = Peer("192.0.2.20", 40000)


def proxy(server: MemoryServer) -> Connection:
    """A connection of a proxy that may say XCLIENT, its banner read."""
    connection = server.connect(PROXY)
    connection.session.xclients = Proxies.of([PROXY])
    connection.received()
    return connection


def xtext(text: str) -> bytes:
    return b"".join(b"+%02X" % octet for octet in text.encode())


@pytest.mark.parametrize(
    ("told", "peer"),
    [
        (b"ADDR=198.51.100.9 PORT=25", Peer("198.51.100.9", 25)),
        (b"ADDR=198.51.100.9", Peer("198.51.100.9", 40000)),
        (b"ADDR=IPV6:2001:DB8::9", Peer("2001:db8::9", 40000)),
        (b"ADDR=2001:db8::9", Peer("2001:db8::9", 40000)),
        (b"ADDR=IPV6:::ffff:198.51.100.9", Peer("198.51.100.9", 40000)),
        (b"ADDR=[UNAVAILABLE] PORT=[TEMPUNAVAIL]", Peer("unknown", 0)),
        (b"NAME=client.example", BEFORE),
    ],
)
def test_the_peer_is_who_was_told(told: bytes, peer: Peer) -> None:
    assert parse(told).peer(BEFORE) == peer


@given(
    name=st.text(min_size=1, max_size=20).filter(str.isprintable),
    address=st.ip_addresses(),
    port=st.integers(0, 65535),
)
def test_what_was_encoded_is_what_was_told(name: str, address: object, port: int) -> None:
    told = parse(b"NAME=%s ADDR=%s PORT=%d" % (xtext(name), xtext(str(address)), port))
    assert told.attributes == {"NAME": name, "ADDR": str(address), "PORT": str(port)}


_WORDS = st.builds(
    lambda name, value: name.encode() + b"=" + value, st.sampled_from([*OFFERED, "LOGIN", "X"]), st.binary(max_size=12)
)


@given(st.one_of(st.binary(), st.lists(_WORDS).map(b" ".join)))
def test_whatever_is_told_is_taken_or_refused_and_gives_a_peer(octets: bytes) -> None:
    try:
        told = parse(octets)
    except SyntaxFault as fault:
        refused = str(fault.reply)
    else:
        refused = ""
        assert set(told.attributes) <= {*OFFERED, "LOGIN"}
        assert told.attributes.get("LOGIN") is None
        told.peer(BEFORE)
    assert refused[:9] in ("", "501 5.5.4", "550 5.7.0")


def test_mail_is_from_the_client_that_was_told() -> None:
    server = MemoryServer()
    connection = proxy(server)
    connection.send(b"XCLIENT ADDR=198.51.100.9\r\nEHLO client.example\r\n")
    connection.send(transaction("user1@hostmeister.de"))
    (message,) = server.stored("user1")
    assert b"Received: from client.example ([198.51.100.9])\n" in message


def test_the_session_begins_anew() -> None:
    connection = proxy(MemoryServer())
    assert codes(connection.send(b"EHLO proxy.example\r\nXCLIENT ADDR=198.51.100.9\r\n"))[-1] == "220"
    assert not connection.session._extended
    assert codes(connection.send(b"BDAT 1 LAST\r\nX")) == ["502 5.5.1"]


def test_the_client_counts_where_it_is() -> None:
    server = MemoryServer(sessions_per_network=1)
    first, second = proxy(server), server.connect("198.51.100.9")
    assert codes(second.received()) == ["220"]
    assert codes(first.send(b"XCLIENT ADDR=198.51.100.9\r\n")) == ["421 4.7.0"]
    assert first.closed
    first.finish()
    second.lose()
    assert codes(server.connect(PROXY).received()) == codes(server.connect("198.51.100.9").received()) == ["220"]


def test_the_client_does_not_become_a_proxy_by_being_told_to_be_one() -> None:
    connection = MemoryServer().connect("192.0.2.66")
    connection.session.xclients = Proxies.of([PROXY])
    connection.received()
    assert codes(connection.send(b"XCLIENT ADDR=192.0.2.20\r\n")) == ["550 5.7.0"]
    assert connection.session.peer.address == "192.0.2.66"


def test_a_proxy_may_say_it_before_the_login_but_not_before_tls() -> None:
    connection = proxy(MemoryServer())
    connection.session.role = SUBMISSION
    assert codes(connection.send(b"XCLIENT ADDR=198.51.100.9\r\n")) == ["530 5.7.0"]
    connection.session.startedTLS = True
    assert codes(connection.send(b"XCLIENT ADDR=198.51.100.9\r\n")) == ["220"]
