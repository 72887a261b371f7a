"""The limits of a session and of all of them, and what is refused because it came too early."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailagent.config import Limits
from mailagent.config.values import Count
from mailagent.smtp.admission import Admission
from mailagent.smtp.connection import LINGER
from mailagent.smtp.header_watch import HeaderWatch
from mailagent.smtp.peer import Peer
from tests.maildir.support import Threads
from tests.memory_server import Connection, MemoryServer, codes, transaction
from tests.smtp.deliveries import PlainDeliveries, PlainDelivery

HOP = b"Received: from a by b\r\n"


def greeted(server: MemoryServer, peer: str = "192.0.2.7") -> Connection:
    connection = server.connect(peer)
    connection.greet()
    return connection


def reply_to_content(content: bytes, **limits: Any) -> str:
    connection = greeted(MemoryServer(**limits))
    return codes(connection.send(transaction("user1@hostmeister.de", content=content)))[-1]


# Counted


def test_recipients_are_counted_over_the_session_too() -> None:
    connection = greeted(MemoryServer(recipients_per_session=2))
    connection.send(transaction("user1@hostmeister.de"))
    got = codes(connection.send(transaction("user1@hostmeister.de", "user2@hostmeister.de")))
    assert got == ["250 2.1.0", "250 2.1.5", "452 4.5.3", "354", "250 2.0.0"]


def test_after_too_many_commands_the_session_is_closed() -> None:
    connection = greeted(MemoryServer(commands_per_session=3))
    assert codes(connection.send(b"NOOP\r\n" * 3)) == ["250 2.0.0", "250 2.0.0", "421 4.7.0"]
    assert connection.closed


def test_a_message_that_has_gone_through_too_many_hosts_is_refused() -> None:
    assert reply_to_content(HOP * 3 + b"\r\nReceived: in the body\r\n", hops=3) == "250 2.0.0"
    assert reply_to_content(b"X: y\r\n" + HOP * 3 + b"RECEIVED : z\r\n\r\n", hops=3) == "554 5.4.6"


def test_the_header_has_a_size_of_its_own() -> None:
    assert reply_to_content(b"Subject: x\r\n" + b"\r\n" + b"y" * 500 + b"\r\n", header_size=100) == "250 2.0.0"
    assert reply_to_content(b"Subject: x\r\n" + b" y\r\n" * 30 + b"\r\n", header_size=100) == "552 5.3.4"
    assert reply_to_content(b"Subject: " + b"y" * 200 + b"\r\n", header_size=100) == "552 5.3.4"


def test_a_bare_text_has_no_header_to_be_too_large() -> None:
    assert reply_to_content(b"y" * 5000 + b"\r\n", header_size=1500) == "250 2.0.0"


LINES = [b"A: b\n", b" c\n", b"\n", b"Received: x\n", b"text\n", b"R" * 1200 + b"\n", b"Long: " + b"x" * 1200 + b"\n"]


@given(st.lists(st.sampled_from(LINES), max_size=10), st.lists(st.integers(0, 5000), max_size=8))
def test_the_header_is_measured_the_same_whatever_the_chunks(lines: list[bytes], borders: list[int]) -> None:
    content = b"".join(lines)
    whole, cut = HeaderWatch(), HeaderWatch()
    whole.feed(content)
    cuts = [0, *sorted(border for border in borders if border < len(content)), len(content)]
    for start, stop in itertools.pairwise(cuts):
        cut.feed(content[start:stop])
    assert (cut.size, cut.hops) == (whole.size, whole.hops)
    header: list[bytes] = []
    for line in lines:
        if b":" not in line and not (header and line.startswith(b" ")):
            break
        header.append(line)
    assert whole.size == sum(map(len, header))
    assert whole.hops == header.count(b"Received: x\n")


# Timed


def test_in_the_middle_of_a_message_silence_is_measured_otherwise() -> None:
    server = MemoryServer(idle_time=300.0, content_idle_time=10.0)
    connection = greeted(server)
    connection.send(transaction("user1@hostmeister.de", content=b"").removesuffix(b".\r\n"))
    server.clock.advance(9)
    connection.send(b"x")
    server.clock.advance(9)
    assert not connection.closed
    server.clock.advance(1)
    assert codes(connection.received())[-1] == "421 4.4.2"


def test_after_the_message_silence_is_measured_as_before() -> None:
    server = MemoryServer(idle_time=300.0, content_idle_time=10.0)
    connection = greeted(server)
    connection.send(transaction("user1@hostmeister.de"))
    server.clock.advance(299)
    assert not connection.closed
    server.clock.advance(1)
    assert connection.closed


def test_a_session_has_only_so_long_whatever_it_does() -> None:
    server = MemoryServer(session_time=100.0)
    connection = greeted(server)
    connection.send(transaction("user1@hostmeister.de", content=b"").removesuffix(b".\r\n"))
    for _ in range(10):
        assert not connection.closed
        server.clock.advance(10)
        connection.send(b"drip")
    assert codes(connection.transport.value())[-1] == "421 4.7.0"
    assert connection.closed


def test_a_decision_that_is_pending_when_the_time_is_up_is_still_answered() -> None:
    decision: Deferred[None] = Deferred()
    server = MemoryServer(PlainDeliveries(PlainDelivery(lambda *_: decision)), session_time=100.0)
    connection = greeted(server)
    connection.send(b"MAIL FROM:<a@b>\r\n")
    server.clock.advance(100)
    assert not connection.closed
    decision.callback(None)
    assert codes(connection.received()) == ["250 2.1.0", "421 4.7.0"]


def test_a_peer_who_does_not_take_the_last_reply_is_cut_off() -> None:
    server = MemoryServer()
    connection = greeted(server)
    connection.send(b"QUIT\r\n")
    server.clock.advance(LINGER - 1)
    assert not connection.transport.disconnected
    server.clock.advance(1)
    assert connection.transport.disconnected


def test_a_session_that_is_gone_leaves_no_clock_running() -> None:
    server = MemoryServer(banner_delay=5.0)
    gone = server.connect()
    gone.lose()
    quitting = greeted(server, "127.0.0.1")
    quitting.send(b"QUIT\r\n")
    quitting.finish()
    assert server.clock.getDelayedCalls() == []


# All sessions together


def test_sessions_in_total_are_limited_and_one_that_ends_makes_room() -> None:
    server = MemoryServer(sessions=2)
    first, _ = server.connect("192.0.2.1"), server.connect("127.0.0.1")
    refused = server.connect("192.0.2.3")
    assert codes(refused.received()) == ["421 4.3.2"]
    assert refused.closed
    refused.finish()
    assert server.connect("192.0.2.4").closed
    first.lose()
    assert not server.connect("192.0.2.5").closed


@pytest.mark.parametrize(
    ("peers", "refused"),
    [
        (["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"], [False, False, True, False]),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], [False, False, True]),
        (["2001:db8::1", "2001:db8::ffff:1", "2001:db8::2", "2001:db8:0:1::1"], [False, False, True, False]),
        (["127.0.0.1"] * 4 + ["::1"] * 4, [False] * 8),
    ],
)
def test_sessions_of_one_network_are_limited(peers: list[str], refused: list[bool]) -> None:
    server = MemoryServer(sessions_per_network=2)
    connections = [server.connect(peer) for peer in peers]
    assert [connection.closed for connection in connections] == refused
    told = [codes(connection.received()) for connection in connections if connection.closed]
    assert all(reply == ["421 4.7.0"] for reply in told)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.1"]))))
def test_who_leaves_makes_room_for_as_many(moves: list[tuple[bool, str]]) -> None:
    limits = Limits(sessions=Count(4), sessions_per_network=Count(2))
    admission = Admission()
    inside: list[str] = []
    for enters, address in moves:
        if enters:
            room = len(inside) < 4 and (inside.count(address) < 2 or address == "127.0.0.1")
            assert (admission.enter(Peer(address, 1), limits) is None) == room
            inside += [address] * room
        elif address in inside:
            admission.leave(Peer(address, 1))
            inside.remove(address)


@pytest.mark.parametrize("limits", [{"sessions": 3}, {"sessions_per_network": 3}])
def test_who_hangs_up_on_a_message_that_waits_for_the_disk_makes_no_room_before_it_is_stored(
    limits: dict[str, Any],
) -> None:
    threads = Threads()
    server = MemoryServer(run_in_thread=threads.run, **limits)
    for _ in range(3):
        connection = greeted(server)
        connection.send(transaction("user1@hostmeister.de"))
        connection.lose()
    assert server.factory.sessions == set()
    assert server.connect().closed
    threads.finish_all()
    assert len(server.stored("user1")) == 3
    for _ in range(3):
        assert not server.connect().closed
    assert server.connect().closed


def test_content_counts_as_memory_until_the_message_is_stored_or_its_sender_gone() -> None:
    server = MemoryServer(memory=1000)
    staying, leaving = server.connect(), server.connect()
    for connection in (staying, leaving):
        connection.greet()
        connection.send(transaction("user1@hostmeister.de", content=b"Subject: x\r\n\r\n")[:-3])
        connection.send(b"x" * 400 + b"\r\n")
    assert 800 <= server.budget.used <= 1000
    leaving.lose()
    assert 400 <= server.budget.used <= 500
    assert codes(staying.send(b".\r\n")) == ["250 2.0.0"]
    assert server.budget.used == 0


def test_when_memory_is_used_up_nobody_who_waits_is_read_any_further() -> None:
    server = MemoryServer(PlainDeliveries(PlainDelivery(lambda *_: Deferred())), memory=1000)
    first, second = greeted(server), greeted(server)
    for connection in (first, second):
        connection.send(b"MAIL FROM:<a@b>\r\n")
    first.send(b"NOOP\r\n" * 100)
    assert first.transport.producerState == "producing"
    second.send(b"NOOP\r\n" * 100)
    assert second.transport.producerState == "paused"
    first.lose()
    third = greeted(server)
    third.send(b"MAIL FROM:<a@b>\r\nNOOP\r\n")
    assert third.transport.producerState == "producing"


# Too early


@pytest.mark.parametrize("early", [b"DATA\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n"])
def test_input_ahead_of_an_answer_that_must_be_awaited_is_refused(early: bytes) -> None:
    connection = greeted(MemoryServer())
    connection.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<user1@hostmeister.de>\r\n")
    assert codes(connection.send_at_once(early + b"X"))[-1] == "554 5.5.0"
    assert connection.closed


def test_input_ahead_of_the_answer_to_ehlo_is_refused_where_that_is_set() -> None:
    server = MemoryServer(pipelined_greeting=False)
    connection = server.connect()
    connection.received()
    assert codes(connection.send_at_once(b"EHLO x\r\nNOOP\r\n")) == ["554 5.5.0"]
    assert connection.closed


def test_the_banner_may_keep_strangers_waiting() -> None:
    server = MemoryServer(banner_delay=5.0)
    stranger = server.connect()
    assert stranger.received() == b""
    server.clock.advance(5)
    assert codes(stranger.received()) == ["220"]
    assert codes(server.connect("127.0.0.1").received()) == ["220"]


def test_who_speaks_before_the_banner_is_refused() -> None:
    server = MemoryServer(banner_delay=5.0)
    stranger = server.connect()
    assert codes(stranger.send_at_once(b"EHLO x\r\n")) == ["554 5.5.0"]
    assert stranger.closed
    server.clock.advance(5)
    assert stranger.received() == b""


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"post / HTTP/1.1", b"CONNECT mx:25 HTTP/1.1"])
def test_a_browser_is_let_go(line: bytes) -> None:
    connection = greeted(MemoryServer())
    assert codes(connection.send(line + b"\r\nHELO x\r\n")) == ["421 4.7.0"]
    assert connection.closed
