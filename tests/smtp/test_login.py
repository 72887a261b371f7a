"""Logging in, at a whole server: what the session does with it, what is counted, and what the log tells."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import ISSLTransport
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import alsoProvides, implementedBy

from mailagent.smtp.auth import Plain
from mailagent.smtp.login import Authentication
from mailagent.smtp.role import MX, SUBMISSION
from tests.dialogues.play import USERS
from tests.maildir.support import Events, Threads, logged
from tests.memory_server import Connection, MemoryServer, codes, transaction
from tests.smtp.deliveries import PlainDelivery

LOCAL = "127.0.0.1"


def b64(octets: bytes) -> bytes:
    return b64encode(octets)


def plain(name: str = "ann", password: str = "secret") -> bytes:
    return b"AUTH PLAIN " + b64(f"\0{name}\0{password}".encode()) + b"\r\n"


def connect(server: MemoryServer, peer: str = LOCAL) -> Connection:
    connection = server.connect(peer)
    connection.greet()
    return connection


def connect_over_tls(server: MemoryServer) -> Connection:
    """A client from elsewhere, which may log in as well."""
    connection = server.connect()
    alsoProvides(connection.transport, ISSLTransport)
    connection.greet()
    return connection


@pytest.fixture
def events() -> Iterator[Events]:
    with logged() as seen:
        yield seen


def scram(connection: Connection, name: str, password: str) -> bytes:
    client = ScramClient(["SCRAM-SHA-256"], name, password)
    got = connection.send(b"AUTH SCRAM-SHA-256 " + b64(client.get_client_first().encode()) + b"\r\n")
    client.set_server_first(b64decode(got.removeprefix(b"334 ")).decode())
    got = connection.send(b64(client.get_client_final().encode()) + b"\r\n")
    if got.startswith(b"334 "):
        client.set_server_final(b64decode(got.removeprefix(b"334 ")).decode())
        got = connection.send(b"\r\n")
    return got


def test_scram_logs_in_and_shows_the_client_that_we_know_it() -> None:
    connection = connect(MemoryServer(users=USERS))
    assert codes(scram(connection, "ann", "secret")) == ["235 2.7.0"]


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong"), ("nobody", "secret")])
def test_scram_with_a_wrong_password_or_name_fails_alike(name: str, password: str) -> None:
    server = MemoryServer(users=USERS)
    assert codes(scram(connect(server), name, password)) == ["535 5.7.8"]
    assert len(server.pauses) == 1


def test_a_limited_account_is_not_told_that_its_proof_was_right() -> None:
    server = MemoryServer(users=USERS)
    for _ in range(3):
        server.factory.authentication.limits.failed(LOCAL, "ann")  # type: ignore[union-attr]
    client = ScramClient(["SCRAM-SHA-256"], "ann", "secret")
    got = connect(server).send(b"AUTH SCRAM-SHA-256 " + b64(client.get_client_first().encode()) + b"\r\n")
    assert codes(got) == ["454 4.7.0"]


def test_a_login_swaps_the_delivery_and_is_known_to_the_transaction() -> None:
    server = MemoryServer(users=USERS)
    connection = connect(server)
    before = connection.session.deliveryFactory
    assert codes(connection.send(plain())) == ["235 2.7.0"]
    assert connection.session.deliveryFactory is not before
    assert (connection.session.client.login, connection.session.client.protocol) == ("ann", "ESMTPA")
    connection.send(transaction("user1@hostmeister.de", sender="ann@example.org"))
    assert b" with ESMTPA id " in server.stored("user1")[0]


def test_over_tls_it_is_offered_and_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.smtp.session.tls_phrase", lambda transport: "TLSv1.3")
    server = MemoryServer(users=USERS)
    connection = server.connect()
    alsoProvides(connection.transport, ISSLTransport)
    assert b"AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n" in connection.send(b"EHLO client.example\r\n")
    assert codes(connection.send(plain())) == ["235 2.7.0"]
    assert connection.session.client.protocol == "ESMTPSA"


@pytest.mark.parametrize(("tls_first", "refusal"), [(True, "530 5.7.0"), (False, "538 5.7.11")])
def test_without_permission_loopback_is_like_any_place(tls_first: bool, refusal: str) -> None:
    server = MemoryServer(users=USERS, role=attrs.evolve(SUBMISSION, requires_tls=tls_first))
    object.__setattr__(server.factory.authentication, "plaintext_loopback", False)
    assert codes(connect(server).send(plain())) == [refusal]


def test_an_mx_offers_no_login_over_tls_either() -> None:
    server = MemoryServer(users=USERS, role=MX)
    connection = server.connect()
    alsoProvides(connection.transport, ISSLTransport)
    connection.received()
    assert b"AUTH" not in connection.send(b"EHLO client.example\r\nHELP\r\n")
    assert codes(connection.send(plain())) == ["502 5.5.1"]


def test_a_login_after_helo_is_told_as_a_protocol_that_there_is() -> None:
    server = MemoryServer(users=USERS)
    connection = server.connect(LOCAL)
    connection.greet(b"HELO client.example\r\n")
    assert codes(connection.send(plain())) == ["235 2.7.0"]
    assert (connection.session.client.login, connection.session.client.protocol) == ("ann", "SMTP")


def test_starttls_forgets_the_login() -> None:
    server = MemoryServer(users=USERS)
    connection = connect(server)
    before = connection.session.deliveryFactory
    connection.send(plain())
    session: Any = connection.session
    session.canStartTLS = True
    session.transport.startTLS = lambda context: None
    connection.send(b"STARTTLS\r\n")
    assert (session.deliveryFactory, session.login_name, session.authenticated) == (before, "", False)


class Realm:
    """Gives a delivery of somebody else's making, and remembers who is gone."""

    def __init__(self) -> None:
        self.delivery = PlainDelivery()
        self.gone = False

    def requestAvatar(self, name: Any, mind: Any, *interfaces: Any) -> Any:
        return IMessageDelivery, self.delivery, lambda: setattr(self, "gone", True)


class Anybody:
    credentialInterfaces = list(implementedBy(Plain))

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome or succeed(b"ann")

    def requestAvatarId(self, credentials: Any) -> Any:
        return self.outcome


def with_portal(portal: Portal) -> MemoryServer:
    server = MemoryServer(users=USERS)
    old = server.factory.authentication
    assert old is not None
    server.factory.authentication = Authentication(
        portal, old.mechanisms, old.offer, old.limits, old.refresh, old.pause, plaintext_loopback=True
    )
    return server


def test_any_portals_delivery_is_used_and_logged_out_at_the_end() -> None:
    realm = Realm()
    connection = connect(with_portal(Portal(realm, [Anybody()])))  # type: ignore[arg-type,list-item]
    connection.send(plain())
    assert codes(connection.send(b"MAIL FROM:<x@y.example>\r\n")) == ["250 2.1.0"]
    assert realm.delivery.asked == [("MAIL", "x@y.example")]
    connection.lose()
    assert realm.gone


def test_a_login_of_somebody_who_has_gone_meanwhile_ends_like_any_other() -> None:
    realm, outcome = Realm(), Deferred[bytes]()
    connection = connect(with_portal(Portal(realm, [Anybody(outcome)])))  # type: ignore[arg-type,list-item]
    connection.send(plain())
    connection.lose()
    assert not realm.gone
    outcome.callback(b"ann")
    assert realm.gone


def test_a_login_of_somebody_who_did_not_wait_for_it_ends_like_any_other() -> None:
    realm, outcome = Realm(), Deferred[bytes]()
    connection = connect(with_portal(Portal(realm, [Anybody(outcome)])))  # type: ignore[arg-type,list-item]
    connection.send(plain())
    connection.send(b"NOOP\r\n")
    outcome.callback(b"ann")
    assert codes(connection.received()) == ["554 5.5.0"]
    connection.finish()
    assert realm.gone


def test_a_checker_in_trouble_is_our_fault_and_counts_for_nobody(events: Events) -> None:
    server = with_portal(Portal(Realm(), [Anybody(fail(OSError("disk")))]))  # type: ignore[arg-type,list-item]
    assert codes(connect(server).send(plain())) == ["454 4.7.0"]
    assert server.pauses == []
    assert [event["what"] for event in events if event.get("event") == "error"] == ["checking a login"]


def test_an_answer_is_awaited_before_anything_else_is_done() -> None:
    threads = Threads()
    connection = connect(MemoryServer(users=USERS, run_in_thread=threads.run))
    assert connection.send(plain()) == b""
    threads.finish_all()
    assert codes(connection.received()) == ["235 2.7.0"]


def test_who_does_not_wait_for_the_outcome_is_let_go() -> None:
    threads = Threads()
    server = MemoryServer(users=USERS, run_in_thread=threads.run)
    connection = connect(server)
    connection.send(plain())
    connection.send(b"MAIL FROM:<ann@example.org>\r\n")
    threads.finish_all()
    assert codes(connection.received()) == ["554 5.5.0"]
    assert connection.closed


def test_a_failure_is_answered_when_its_pause_is_over() -> None:
    server = MemoryServer(users=USERS)
    pause: Deferred[None] = Deferred()
    object.__setattr__(server.factory.authentication, "pause", lambda seconds: pause)
    connection = connect(server)
    assert connection.send(plain("ann", "wrong")) == b""
    pause.callback(None)
    assert codes(connection.received()) == ["535 5.7.8"]


def test_a_peer_that_leaves_during_its_pause_is_no_trouble(events: Events) -> None:
    server = MemoryServer(users=USERS)
    pause: Deferred[None] = Deferred()
    object.__setattr__(server.factory.authentication, "pause", lambda seconds: pause)
    connection = connect(server)
    connection.send(plain("ann", "wrong"))
    connection.lose()
    pause.callback(None)
    assert "error" not in [event.get("event") for event in events]


def test_failures_wait_longer_each_time_whoever_is_tried() -> None:
    server = MemoryServer(users=USERS)
    connection = connect_over_tls(server)
    connection.send(plain("ann", "wrong"))
    connection.send(plain("nobody", "wrong"))
    assert server.pauses == [1.0, 2.0]


def test_a_network_shut_out_is_told_in_the_log(events: Events) -> None:
    server = MemoryServer(users=USERS)
    for _ in range(3):
        connect_over_tls(server).send(plain("ann", "wrong"))
    assert codes(connect_over_tls(server).send(plain())) == ["421 4.7.0"]
    assert [event["reply"][:3] for event in events if event.get("event") == "login_failed"] == ["535"] * 3 + ["421"]


def test_one_persons_mistakes_shut_nobody_else_out_of_a_webmail_on_this_machine() -> None:
    server = MemoryServer(users=USERS)
    for _ in range(3):
        connect(server).send(plain("ann", "wrong"))
    assert codes(connect(server).send(plain())) == ["454 4.7.0"]
    assert codes(connect(server).send(plain("user1"))) == ["235 2.7.0"]


def test_the_log_has_names_escaped_and_no_passwords(events: Events) -> None:
    connection = connect(MemoryServer(users=USERS))
    connection.send(plain("a\x1bn\n", "hunter2"))
    connection.send(plain())
    facts = [(e["event"], e["name"], e["mechanism"]) for e in events if str(e.get("event")).startswith("login_")]
    assert facts == [("login_failed", "a\\x1bn\\n", "PLAIN"), ("login_succeeded", "ann", "PLAIN")]
    told = repr(list(events))
    for secret in ("hunter2", b64(b"\0ann\0secret").decode()):
        assert secret not in told


def test_what_follows_a_refused_auth_is_not_written_down(events: Events) -> None:
    connection = connect(MemoryServer(users=USERS))
    assert codes(connection.send(b"AUTH NTLM\r\n")) == ["504 5.5.4"]
    connection.send(b64(b"hunter2-hunter2") + b"\r\n")
    assert b64(b"hunter2-hunter2").decode().upper() not in repr(list(events)).upper()


@given(
    lines=st.lists(st.binary(max_size=60) | st.sampled_from([b"*", b"=", b"", b"AUTH LOGIN", b"AUTH PLAIN", b"QQ=="]))
)
def test_any_lines_get_a_reply_each_and_nothing_escapes(lines: list[bytes]) -> None:
    connection = connect(MemoryServer(users=USERS))
    for line in lines:
        got = connection.send(b"AUTH SCRAM-SHA-256\r\n") + connection.send(line.replace(b"\r", b"") + b"\r\n")
        assert all(reply[:1].isdigit() for reply in got.splitlines())
        if connection.closed:
            return
        assert got


def test_guesses_side_by_side_are_not_more_than_guesses_in_a_row() -> None:
    threads = Threads()
    server = MemoryServer(users=USERS, run_in_thread=threads.run)
    guessers = [connect_over_tls(server) for _ in range(10)]
    for number, guesser in enumerate(guessers):
        guesser.send(plain("user1", f"guess {number}"))
    checked = 0
    while threads.jobs:
        checked += 1
        threads.finish()
    assert checked == 3  # the memory server's limit of failures
    assert sorted({code for guesser in guessers for code in codes(guesser.received())}) == ["421 4.7.0", "535 5.7.8"]
