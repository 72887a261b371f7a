"""The session: order, back-pressure, faults, ends. The defects of Twisted's stock session are named where pinned."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import alsoProvides, implementer

from mailagent.smtp.connection import LINGER, READ_AHEAD
from mailagent.smtp.session import Session
from mailagent.smtp.turns import Turns
from tests.maildir.support import Events, logged
from tests.memory_server import Connection, MemoryServer, codes, segments, transaction
from tests.smtp.deliveries import PlainDeliveries, PlainDelivery, PlainMessage


def plain_server(delivery: PlainDelivery, **limits: Any) -> MemoryServer:
    return MemoryServer(PlainDeliveries(delivery), **limits)


def greeted(server: MemoryServer) -> Connection:
    connection = server.connect()
    connection.greet()
    return connection


# Order


class Decisions:
    """Deferred decisions that a test makes when it likes."""

    def __init__(self) -> None:
        self.open: list[Deferred[None]] = []

    def ask(self, *_: str) -> Deferred[None]:
        self.open.append(Deferred())
        return self.open[-1]

    def make(self) -> None:
        self.open.pop(0).callback(None)


def test_stock_defect_deferred_validation_breaks_the_order_of_replies() -> None:
    decisions = Decisions()
    connection = greeted(plain_server(PlainDelivery(decisions.ask)))
    envelope, content = transaction("user1@hostmeister.de", "b@c").split(b"DATA\r\n")
    assert connection.send(envelope + b"DATA\r\n") == b""
    got = []
    while decisions.open:
        assert len(decisions.open) == 1  # one command at a time
        decisions.make()
        got.append(codes(connection.received()))
    got.append(codes(connection.send(content + b"QUIT\r\n")))
    assert got == [["250 2.1.0"], ["250 2.1.5"], ["250 2.1.5", "354"], ["250 2.0.0", "221 2.0.0"]]


def test_replies_to_one_segment_leave_together() -> None:
    connection = greeted(MemoryServer())
    writes: list[bytes] = []
    connection.session.transport.write = writes.append
    connection.session.dataReceived(b"NOOP\r\nNOOP\r\n" + transaction("user1@hostmeister.de"))
    assert len(writes) == 1


COMMANDS = [
    b"NOOP\r\n", b"RSET\r\n", b"EHLO y\r\n", b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<no@b>\r\n", b"RCPT TO:<c@d>\r\n",
    b"RCPT TO:<no@d>\r\n", b"DATA\r\n", b"VRFY x\r\n", b"BOGUS\r\n", b"text\r\n", b"..text\r\n", b".\r\n",
    b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", b"bare\nline\r\n", b"BDAT 6\r\nQUIT\r\n",
    b"BDAT 3 LAST\r\n.\r\n", b"BDAT 0 LAST\r\n", b"BDAT 2 LAST\r\na\n",
    b"MAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<c@d>\r\n",
]  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(COMMANDS), max_size=12),
    st.lists(st.integers(0, 300), max_size=10),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_a_pipelining_client_sees_what_a_lock_step_client_sees(
    said: list[bytes], borders: list[int], deferred: list[bool]
) -> None:
    def decide(verb: str, address: str) -> Deferred[None] | None:
        if address.startswith("no@"):
            raise smtp.SMTPServerError(550, "5.7.1 no")
        return None

    lock_step = greeted(plain_server(PlainDelivery(decide), errors=100))
    expected = b"".join(lock_step.send(line) for line in said)

    open_decisions: list[tuple[Deferred[None], str]] = []
    when = iter(deferred)

    def decide_later(verb: str, address: str) -> Deferred[None] | None:
        if next(when, False):
            open_decisions.append((Deferred(), address))
            return open_decisions[-1][0]
        return decide(verb, address)

    pipelining = greeted(plain_server(PlainDelivery(decide_later), errors=100))
    got = b""
    for group in segments(b"".join(said)):  # a client waits for the answers to a group
        cuts = [0, *sorted(border for border in borders if border < len(group)), len(group)]
        got += b"".join(pipelining.send_at_once(group[start:stop]) for start, stop in itertools.pairwise(cuts))
        while open_decisions:
            decision, address = open_decisions.pop(0)
            if address.startswith("no@"):
                decision.errback(smtp.SMTPServerError(550, "5.7.1 no"))
            else:
                decision.callback(None)
            got += pipelining.received()
    assert got == expected


def test_a_peer_who_sends_far_ahead_of_a_decision_is_not_read_until_it_is_made() -> None:
    decisions = Decisions()
    connection = greeted(plain_server(PlainDelivery(decisions.ask)))
    connection.send(b"MAIL FROM:<a@b>\r\n")
    connection.send(b"NOOP\r\n" * (READ_AHEAD // 6 + 1))
    assert connection.transport.producerState == "paused"
    decisions.make()
    assert connection.transport.producerState == "producing"
    assert connection.received().count(b"250 2.0.0") == READ_AHEAD // 6 + 1


def test_a_peer_who_does_not_read_our_replies_is_not_read_either() -> None:
    connection = greeted(MemoryServer())
    connection.session.pauseProducing()  # what a transport does when its buffer is full
    assert connection.send(b"NOOP\r\n") == b""
    assert connection.transport.producerState == "paused"
    connection.session.resumeProducing()
    assert codes(connection.received()) == ["250 2.0.0"]
    assert connection.transport.producerState == "producing"


def test_a_peer_who_does_not_read_our_replies_is_idle_and_in_the_end_cut_off() -> None:
    server = MemoryServer(idle_time=300)
    connection = greeted(server)
    connection.session.pauseProducing()
    server.clock.advance(301)
    assert connection.closed
    assert connection.transport.producer is None  # or the transport would wait for it before it closes
    connection.session.dataReceived(b"NOOP\r\n")  # the rest of what was sent; it buys no time
    assert not connection.transport.disconnected
    server.clock.advance(LINGER)
    assert connection.transport.disconnected


def test_a_peer_who_does_not_read_is_closed_when_the_server_stops() -> None:
    connection = greeted(MemoryServer())
    connection.session.pauseProducing()
    connection.session.drain()
    assert codes(connection.received()) == ["421 4.3.2"]
    assert connection.closed


def test_where_answering_itself_fails_the_session_ends() -> None:
    connection = greeted(MemoryServer())
    connection.session._sender_accepted = connection.session._reply_to_failure = lambda _: 1 / 0  # type: ignore[method-assign,assignment]
    assert codes(connection.send(b"MAIL FROM:<a@b>\r\n")) == ["421 4.3.0"]
    assert connection.closed


def test_a_third_partys_long_reply_is_cut_to_a_line() -> None:
    delivery = PlainDelivery()
    delivery.outcome = lambda: succeed("x" * 2000)
    got = greeted(plain_server(delivery)).send(transaction("c@d"))
    assert max(len(line) for line in got.split(b"\r\n")) <= 510


def test_a_sink_that_is_behind_holds_the_sender_back() -> None:
    server = MemoryServer(run_in_thread=lambda *_: Deferred())  # a disk that never gets anything done
    connection = greeted(server)
    connection.send(transaction("user1@hostmeister.de", content=b"").removesuffix(b".\r\n"))
    for _ in range(40):
        connection.send((b"x" * 62 + b"\r\n") * 1024)
        if connection.transport.producerState == "paused":
            break
    assert connection.transport.producerState == "paused"


# Other people's deliveries


def test_a_delivery_written_against_the_interfaces_alone_runs_under_our_session() -> None:
    delivery = PlainDelivery()
    connection = greeted(plain_server(delivery))
    got = connection.send(
        transaction("c@d", "e@f", content=b"Subject: x\r\n\r\n..dot\r\nlong " + b"x" * 9000 + b"\r\n")
    )
    assert codes(got) == ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354", "250 2.0.0"]
    assert b"250 2.0.0 thanks\r\n" in got
    assert delivery.helo == (b"client.example", b"192.0.2.7")
    assert delivery.asked == [("MAIL", "me@client.example"), ("RCPT", "c@d"), ("RCPT", "e@f")]
    assert [message.lines for message in delivery.messages] == [
        [b"Received: for " + recipient, b"Subject: x", b"", b".dot", b"long " + b"x" * 9000]
        for recipient in (b"c@d", b"e@f")
    ]


def test_a_bare_text_gets_the_empty_line_that_stock_sessions_put_before_it() -> None:
    delivery = PlainDelivery()
    greeted(plain_server(delivery)).send(transaction("c@d", content=b"no header\r\n"))
    assert delivery.messages[0].lines == [b"Received: for c@d", b"", b"no header"]


def test_a_delivery_set_on_the_session_of_a_stock_factory_works() -> None:
    factory = smtp.SMTPFactory()
    factory.protocol = Session
    session = factory.buildProtocol(None)
    session.delivery = PlainDelivery()
    connection = Connection(session, StringTransport())
    session.makeConnection(connection.transport)
    connection.greet()
    assert codes(connection.send(transaction("c@d")))[-1] == "250 2.0.0"
    connection.lose()


def test_a_portal_gives_anonymous_clients_their_delivery_and_hears_of_their_leaving() -> None:
    delivery = PlainDelivery()
    left: list[bool] = []

    @implementer(IRealm)
    class Realm:
        def requestAvatar(self, avatarId: object, mind: object, *interfaces: object) -> Any:
            return IMessageDelivery, delivery, lambda: left.append(True)

    factory = smtp.SMTPFactory(Portal(Realm(), [AllowAnonymousAccess()]))
    factory.protocol = Session
    session = factory.buildProtocol(None)
    connection = Connection(session, StringTransport())
    session.makeConnection(connection.transport)
    connection.greet()
    assert codes(connection.send(transaction("c@d")))[-1] == "250 2.0.0"
    connection.lose()
    assert left == [True]


def test_without_any_delivery_every_sender_is_refused() -> None:
    session = Session()
    connection = Connection(session, StringTransport())
    session.makeConnection(connection.transport)
    connection.greet()
    assert codes(connection.send(b"MAIL FROM:<a@b>\r\n")) == ["550 5.0.0"]
    connection.lose()


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (lambda: fail(smtp.SMTPServerError(451, "4.2.0 not now")), b"451 4.2.0 not now\r\n"),
        (lambda: fail(smtp.SMTPServerError(452, b"4.3.1 full")), b"452 4.3.1 full\r\n"),
        (lambda: fail(smtp.SMTPServerError(554, "no status")), b"554 5.0.0 no status\r\n"),
        (lambda: fail(smtp.SMTPServerError(250, "confused")), b"451 4.3.0"),
        (lambda: fail(OSError("our disk")), b"451 4.3.0"),
        (lambda: 1 / 0, b"451 4.3.0"),
        (lambda: succeed(None), b"250 2.0.0 Message accepted\r\n"),
        (lambda: succeed(b"as 17\r\n250 x"), b"250-2.0.0 as 17\r\n250 2.0.0 250 x\r\n"),
    ],
)
def test_stock_defect_every_failure_of_eom_received_became_550(outcome: Callable[[], Any], reply: bytes) -> None:
    delivery = PlainDelivery()
    delivery.outcome = outcome
    got = greeted(plain_server(delivery)).send(transaction("c@d"))
    assert got[got.index(b"354") :].split(b"\r\n", 1)[1].startswith(reply)


def test_stock_defect_a_transient_failure_of_one_recipient_was_permanent_for_all() -> None:
    outcomes = iter(
        [fail(smtp.SMTPServerError(550, "never")), succeed("yes"), fail(smtp.SMTPServerError(451, "later"))]
    )
    delivery = PlainDelivery()
    delivery.outcome = lambda: next(outcomes)
    got = greeted(plain_server(delivery)).send(transaction("a@b", "c@d", "e@f"))
    assert codes(got)[-1] == "451 4.0.0"


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (smtp.SMTPServerError(450, "4.7.1 greylisted"), "450 4.7.1"),
        (smtp.SMTPBadRcpt("x@y", 551, "5.1.6 moved"), "551 5.1.6"),
        (smtp.SMTPBadSender("x@y"), "550 5.0.0"),
        (ValueError("a bug of ours"), "451 4.3.0"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_refusal_reaches_the_client_as_it_was_meant(verb: str, refusal: Exception, code: str, later: bool) -> None:
    def decide(asked: str, _: str) -> Deferred[None] | None:
        if asked != verb:
            return None
        if later:
            return fail(refusal)
        raise refusal

    got = greeted(plain_server(PlainDelivery(decide))).send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nNOOP\r\n")
    assert code in codes(got)
    assert codes(got)[-1] == "250 2.0.0"


def test_a_message_that_cannot_be_opened_is_refused_at_data_and_the_others_told() -> None:
    opened: list[PlainMessage] = []

    def open_message() -> PlainMessage:
        if opened:
            raise smtp.SMTPServerError(451, "4.2.0 busy")
        opened.append(PlainMessage())
        return opened[0]

    delivery = PlainDelivery()
    delivery._message = open_message  # type: ignore[method-assign]
    connection = greeted(plain_server(delivery))
    got = connection.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\nNOOP\r\n")
    assert codes(got)[3:] == ["451 4.2.0", "250 2.0.0"]
    assert opened[0].lost


def test_a_message_that_refuses_a_line_is_answered_at_the_true_end() -> None:
    class Refusing(PlainMessage):
        def lineReceived(self, line: bytes) -> None:
            if line == b"bad":
                raise smtp.SMTPServerError(554, "5.6.0 bad line")

    delivery = PlainDelivery()
    messages = [Refusing(), PlainMessage()]
    delivery._message = iter(messages).__next__  # type: ignore[method-assign]
    connection = greeted(plain_server(delivery))
    got = connection.send(transaction("a@b", "c@d", content=b"S: x\r\n\r\nbad\r\nQUIT\r\n"))
    assert codes(got)[-2:] == ["354", "554 5.6.0"]
    assert [message.lost for message in messages] == [True, True]


# Content


def test_stock_defect_an_overlong_data_line_turned_the_rest_of_the_body_into_commands() -> None:
    delivery = PlainDelivery()
    connection = greeted(plain_server(delivery))
    body = b"x" * 20_000 + b"\r\nMAIL FROM:<smuggled@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
    got = connection.send(transaction("c@d", content=b"S: x\r\n\r\n" + body))
    assert codes(got)[-2:] == ["354", "250 2.0.0"]
    assert len(delivery.asked) == 2
    assert delivery.messages[0].lines[3] == b"x" * 20_000


def test_a_line_of_a_megabyte_arrives_exactly_and_nothing_is_kept_in_the_session() -> None:
    server = MemoryServer()
    connection = greeted(server)
    connection.send(transaction("user1@hostmeister.de", content=b"S: x\r\n\r\n").removesuffix(b".\r\n"))
    for _ in range(1024):
        connection.send(b"y" * 1024)
        assert len(connection.session._input) == 0
    assert codes(connection.send(b"\r\n.\r\n")) == ["250 2.0.0"]
    assert server.stored("user1")[0].endswith(b"\n\n" + b"y" * 1024 * 1024 + b"\n")


def test_a_message_is_abandoned_when_the_connection_is_lost_before_its_end() -> None:
    delivery = PlainDelivery()
    connection = greeted(plain_server(delivery))
    connection.send(transaction("c@d").removesuffix(b".\r\n"))
    connection.lose()
    assert delivery.messages[0].lost


def test_a_decision_that_comes_after_the_connection_is_gone_does_nothing() -> None:
    decisions = Decisions()
    connection = greeted(plain_server(PlainDelivery(decisions.ask)))
    connection.send(b"MAIL FROM:<a@b>\r\nNOOP\r\n")
    connection.lose()
    decisions.make()
    assert connection.received() == b""


# Time and ends


def test_an_idle_client_is_told_421_and_let_go() -> None:
    server = MemoryServer(idle_time=300)
    connection = greeted(server)
    server.clock.advance(299)
    connection.send(b"NOOP\r\n")
    server.clock.advance(299)
    assert not connection.closed
    connection.received()
    server.clock.advance(2)
    assert connection.received().startswith(b"421 4.4.2")
    assert connection.closed


def test_time_we_take_ourselves_is_not_the_clients_idleness() -> None:
    decisions = Decisions()
    server = plain_server(PlainDelivery(decisions.ask), idle_time=300)
    connection = greeted(server)
    connection.send(b"MAIL FROM:<a@b>\r\n")
    server.clock.advance(301)
    assert not connection.closed
    decisions.make()
    server.clock.advance(301)
    assert connection.closed


def test_nothing_is_carried_out_after_quit() -> None:
    server = MemoryServer()
    connection = greeted(server)
    assert codes(connection.send(b"QUIT\r\n" + transaction("user1@hostmeister.de"))) == ["221 2.0.0"]
    assert connection.send(b"NOOP\r\n") == b""
    assert server.all_stored == 0


def test_a_flood_without_a_line_end_is_cut_off() -> None:
    connection = greeted(MemoryServer())
    got = b"".join(connection.send(b"x" * 10_000) for _ in range(10))
    assert codes(got) == ["500 5.5.2", "421 4.7.0"]
    assert connection.closed


def test_a_connection_and_its_end_are_logged() -> None:
    with logged() as events:
        connection = greeted(MemoryServer())
        connection.send(b"AUTH LOGIN\r\nc2VjcmV0\r\n")
        connection.lose(cleanly=True)
    assert "c2VjcmV0" not in str(list(events)).replace("C2VJCMV0", "c2VjcmV0")
    named = {event["event"]: event for event in events if "event" in event}
    assert named["connected"]["peer"] == "192.0.2.7:40000"
    assert named["command_refused"]["command"] == "unknown"
    assert named["disconnected"]["peer"] == "192.0.2.7:40000"


@pytest.mark.parametrize(("last", "why"), [(b"QUIT\r\n", "closed cleanly"), (b"NOOP\r\n", "non-clean")])
def test_a_connection_cut_after_our_last_words_is_no_unclean_end(last: bytes, why: str) -> None:
    """Over TLS most clients drop the connection at C{221}, with our C{close_notify} unread."""
    connection = greeted(MemoryServer())
    connection.send(last)
    with capturedLogs() as told:
        connection.lose(cleanly=False)
    assert why in next(event["reason"] for event in told if event.get("event") == "disconnected")


def test_a_peer_that_has_said_all_still_gets_its_replies() -> None:
    """C{nc -N} and C{node -e} close their sending side at the end of input."""
    decisions = Decisions()
    connection = greeted(plain_server(PlainDelivery(decisions.ask)))
    connection.send(b"MAIL FROM:<a@b>\r\nQUIT\r\nNOO")
    connection.session.readConnectionLost()
    assert not connection.closed
    decisions.make()
    assert codes(connection.received()) == ["250 2.1.0", "221 2.0.0"]
    assert connection.closed


def test_a_peer_that_has_said_all_and_waits_for_nothing_is_let_go() -> None:
    delivery = PlainDelivery()
    connection = greeted(plain_server(delivery))
    connection.send(transaction("c@d").removesuffix(b".\r\n"))
    connection.session.readConnectionLost()
    assert connection.closed
    assert delivery.messages[0].lost


def test_a_peer_that_a_proxy_names_later_is_the_one_that_counts() -> None:
    """Twisted's haproxy endpoint connects us before the header that names the peer has arrived."""
    connection = MemoryServer().connect("127.0.0.1")
    connection.transport.peerAddr = IPv4Address("TCP", "203.0.113.9", 5555)
    assert codes(connection.send(b"EHLO x\nNOOP\n")) == ["220", "500 5.5.2", "500 5.5.2"]
    assert connection.session.client.address == "203.0.113.9"


# TLS


class TLSTransport(StringTransport):
    """Remembers when TLS was begun, and in front of what."""

    started: bytes | None = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed in memory."""

    def startTLS(self, context: object) -> None:
        self.started = self.value()


def tls_session(server: MemoryServer | None = None) -> tuple[Connection, TLSTransport]:
    session = (server or MemoryServer()).factory.buildProtocol(None)
    assert session is not None
    session.ctx = SSL.Context(SSL.TLS_SERVER_METHOD)
    transport = TLSTransport()
    alsoProvides(transport, ITLSTransport)
    session.makeConnection(transport)
    connection = Connection(session, transport)
    connection.greet()
    return connection, transport


def test_stock_defect_commands_sent_with_starttls_ran_inside_tls() -> None:
    connection, transport = tls_session()
    got = connection.send_at_once(b"STARTTLS\r\nMAIL FROM:<injected@plain>\r\nRCPT TO:<par")
    assert codes(got) == ["554 5.5.0"]
    assert connection.closed
    assert transport.started is None


def test_tls_starts_a_session_afresh() -> None:
    connection, transport = tls_session()
    got = connection.send(b"MAIL FROM:<a@b>\r\nRSET\r\nSTARTTLS\r\n")
    assert codes(got) == ["250 2.1.0", "250 2.0.0", "220"]
    assert transport.started == transport.value()
    assert codes(connection.send(b"MAIL FROM:<a@b>\r\n")) == ["503 5.5.1"]  # EHLO is forgotten too
    assert b"STARTTLS" not in connection.send(b"EHLO x\r\n")
    assert codes(connection.send(b"STARTTLS\r\n")) == ["502 5.5.1"]


def test_a_session_whose_starttls_fails_is_closed_and_counts_no_more() -> None:
    """The transport may be half inside TLS then, and never say that the connection is gone."""
    events = Events()
    server = MemoryServer(sessions=1)
    connection, transport = tls_session(server)
    connection.session._log = events.log
    transport.startTLS = None  # type: ignore[method-assign, assignment]
    assert codes(connection.send(b"STARTTLS\r\n")) == ["220"]
    assert transport.disconnected
    assert server.factory.sessions == set()
    assert server.connect().received().startswith(b"220 ")
    connection.lose()
    assert events.named.count("error") == events.named.count("disconnected") == 1
    assert len(server.factory.sessions) == 1


def test_starttls_is_offered_only_with_a_certificate() -> None:
    connection, _ = tls_session()
    assert b"250-STARTTLS" in connection.send(b"EHLO x\r\n") or b"250 STARTTLS" in connection.send(b"EHLO x\r\n")
    assert b"STARTTLS" not in greeted(MemoryServer()).send(b"EHLO x\r\n")


def test_starttls_inside_a_transaction_is_refused() -> None:
    connection, transport = tls_session()
    assert codes(connection.send(b"MAIL FROM:<a@b>\r\nSTARTTLS\r\n")) == ["250 2.1.0", "503 5.5.1"]
    assert transport.started is None


def test_a_peer_who_does_not_take_our_farewell_is_cut_off_whatever_it_sends() -> None:
    server = MemoryServer()
    connection = greeted(server)
    connection.send(b"QUIT\r\n")
    server.clock.advance(9)
    connection.send(b"NOOP\r\n")
    assert not connection.transport.disconnected
    server.clock.advance(1)
    assert connection.transport.disconnected


def test_a_peer_with_very_many_commands_lets_others_have_their_turn() -> None:
    server = MemoryServer()
    busy, other = server.connect(), server.connect()
    for connection in (busy, other):
        connection.greet()
    busy.session.dataReceived(b"RSET\r\n" * 1000)
    assert bytes(busy.transport.value()).count(b"250 2.0.0") < 200
    assert codes(other.send(b"NOOP\r\n")) == ["250 2.0.0"]
    assert busy.received().count(b"250 2.0.0") == 1000


def test_a_peer_that_goes_before_its_next_turn_is_gone() -> None:
    server = MemoryServer()
    connection = server.connect()
    connection.greet()
    connection.session.dataReceived(b"RSET\r\n" * 1000)
    connection.lose()
    server.clock.advance(0)
    assert server.factory.sessions == set()
    assert connection.received().count(b"250 2.0.0") < 200


def test_a_peer_that_goes_while_it_waits_for_others_is_gone() -> None:
    server = MemoryServer()
    connection = greeted(server)
    connection.session.turns = turns = NoTurns()
    connection.send(b"RSET\r\n" * 1000)
    connection.lose()
    turns.waiting.pop()()
    assert server.factory.sessions == set()
    assert (connection.received(), turns.waiting) == (b"", [])


class NoTurns(Turns):
    """A turn that is waited for comes when the test says so."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.waiting: list[Callable[[], None]] = []

    def wait(self, go_on: Callable[[], None]) -> None:
        self.waiting.append(go_on)


def test_a_peer_with_very_many_commands_waits_for_others_of_its_kind() -> None:
    connection = greeted(MemoryServer())
    connection.session.turns = turns = NoTurns()
    at_once = connection.send(b"RSET\r\n" * 1000).count(b"250 2.0.0")
    assert 100 < at_once < 200
    turns.waiting.pop()()
    assert connection.received().count(b"250 2.0.0") < 100
    assert len(turns.waiting) == 1


def test_a_message_to_a_hundred_recipients_does_not_wait() -> None:
    connection = greeted(MemoryServer())
    connection.session.turns = turns = NoTurns()
    for _ in range(3):
        recipients = [f"RCPT TO:<user{number}@unknown.example>\r\n".encode() for number in range(100)]
        connection.send(b"RSET\r\nMAIL FROM:<a@b.example>\r\n" + b"".join(recipients) + b"NOOP\r\n")
    assert turns.waiting == []


def test_all_sessions_wait_together() -> None:
    server = MemoryServer()
    assert server.connect().session.turns is server.connect().session.turns is not None
