"""One message's way through reception, under our own session and under Twisted's stock one."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import StringTransport
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailagent.envelope.address import Address
from mailagent.envelope.forward import Forward
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import IContentSink, IDirectory, IStreamedMessage
from mailagent.maildir.mailstore import Maildirs
from mailagent.reception.message import ContentSink, RecipientMessage
from mailagent.reception.recipient import Recipient
from tests.maildir.support import logged
from tests.memory_server import ROOT, Connection, MemoryServer, codes, transaction

MESSAGE = b"Subject: x\r\n\r\nhi\r\n"
DATE = b"Fri, 15 Jan 2027 08:00:00 +0000"


def send(server: MemoryServer, *args: Any, **kwargs: Any) -> bytes:
    connection = server.connect()
    connection.greet()
    got = connection.send(transaction(*args, **kwargs))
    connection.lose(cleanly=True)
    return got


def test_the_objects_provide_what_they_say() -> None:
    server = MemoryServer()
    verifyObject(IMessageDeliveryFactory, server.reception)
    delivery = server.reception.getMessageDelivery()
    verifyObject(IMessageDelivery, delivery)
    mailbox = Mailbox(Address("user1", "hostmeister.de"), f"{ROOT}/user1")
    content = ContentSink(server.mailstore.stage(mailbox))
    verifyObject(IContentSink, content)
    verifyObject(
        IStreamedMessage, RecipientMessage(delivery, content, Recipient(mailbox.owner, (mailbox,)), first=True)
    )


def test_a_stored_message_is_headed_by_its_trace_and_otherwise_untouched() -> None:
    server = MemoryServer()
    got = send(server, "user1@hostmeister.de", content=b"X: 1\r\n\r\n..\r\n  \r\n\xff\x00 trailing \r\n")
    message_id = got.split(b"Stored as ")[1].split()[0]
    assert server.stored("user1") == [
        b"Return-Path: <me@client.example>\n"
        b"Delivered-To: user1@hostmeister.de\n"
        b"Received: from client.example ([192.0.2.7])\n"
        b"\tby mx.example.org with ESMTP id " + message_id + b"\n"
        b"\tfor <user1@hostmeister.de>;\n"
        b"\t" + DATE + b"\n"
        b"X: 1\n\n.\n  \n\xff\x00 trailing \n"
    ]


def test_with_several_recipients_the_trace_shows_none_of_them_to_the_others() -> None:
    server = MemoryServer()
    send(server, "user1@hostmeister.de", "User2+x@hostgator.com", content=MESSAGE)
    first, second = server.stored("user1")[0], server.stored("user2")[0]
    assert b"user2" not in first.lower()
    assert b"user1" not in second.lower()
    assert b"for <" not in first
    assert b"Delivered-To: user2@hostgator.com\nX-Original-To: User2+x@hostgator.com\n" in second


def test_spelling_alone_is_no_other_address() -> None:
    server = MemoryServer()
    send(server, "USER1@HOSTMEISTER.DE", content=MESSAGE)
    assert b"X-Original-To" not in server.stored("user1")[0]


def test_the_null_reverse_path_and_helo_are_recorded_as_such() -> None:
    server = MemoryServer()
    connection = server.connect("2001:db8::7")
    connection.greet(b"HELO [IPv6:2001:db8::7]\r\n")
    connection.send(transaction("user1@hostmeister.de", sender="", content=MESSAGE))
    stored = server.stored("user1")[0]
    assert stored.startswith(b"Return-Path: <>\n")
    assert b"from [IPv6:2001:db8::7] ([IPv6:2001:db8::7])\n\tby mx.example.org with SMTP id" in stored


@pytest.mark.parametrize(
    "content", [b"just text\r\n", b"\r\nSubject: late\r\n", b"From me Mon\r\nA: b\r\n", b"", b": x\r\n"]
)
def test_a_message_without_a_header_gets_one_from_the_envelope(content: bytes) -> None:
    server = MemoryServer()
    send(server, "user1@hostmeister.de", "user2@hostmeister.de", content=content)
    stored = server.stored("user1")[0]
    _trace, _, rest = stored.partition(DATE + b"\n")
    assert rest.startswith(
        b"From: me@client.example\nTo: user1@hostmeister.de,\n\tuser2@hostmeister.de\nDate: "
        + DATE
        + b"\nMessage-ID: <"
    )
    assert rest.partition(b"\n\n")[2] == content.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("content", [b"A:\r\n", b"a-b!: x\r\n\r\n", b"Obsolete : x\r\n", b"x" * 900 + b": long\r\n"])
def test_a_message_that_begins_with_a_field_is_not_touched(content: bytes) -> None:
    server = MemoryServer()
    send(server, "user1@hostmeister.de", content=content)
    assert server.stored("user1")[0].partition(DATE + b"\n")[2] == content.replace(b"\r\n", b"\n")


def test_a_first_line_without_an_end_is_judged_by_its_beginning() -> None:
    server = MemoryServer()
    connection = server.connect()
    connection.greet()
    connection.send(transaction("user1@hostmeister.de", content=b"").removesuffix(b".\r\n"))
    for _ in range(700):
        connection.send(b"x" * 1000)
    connection.send(b"\r\n.\r\n")
    assert b"\nMessage-ID: <" in server.stored("user1")[0][:1000]


def test_every_message_has_its_own_id() -> None:
    server = MemoryServer()
    connection = server.connect()
    connection.greet()
    got = connection.send(transaction("user1@hostmeister.de", content=MESSAGE) * 50)
    ids = {line for line in got.split(b"\r\n") if b"Stored as" in line}
    assert len(ids) == 50
    assert len(server.stored("user1")) == 50


def test_every_recipient_has_a_file_of_its_own_and_a_repeated_one_no_second() -> None:
    server = MemoryServer()
    recipients = ["user1+a@hostmeister.de", "user1+b@hostmeister.de", "USER1+A@Hostmeister.DE", "user1@hostmeister.de"]
    send(server, *recipients, content=MESSAGE)
    assert [stored.split(b"\n")[1:3] for stored in server.stored("user1")] == [
        [b"Delivered-To: user1@hostmeister.de", b"X-Original-To: user1+a@hostmeister.de"],
        [b"Delivered-To: user1@hostmeister.de", b"X-Original-To: user1+b@hostmeister.de"],
        [b"Delivered-To: user1@hostmeister.de", b"Received: from client.example ([192.0.2.7])"],
    ]


def test_who_is_named_and_reached_by_an_alias_gets_one_copy() -> None:
    server = MemoryServer()
    send(server, "sales@example.org", "ann@example.org", content=MESSAGE)
    (ann,), (bob,) = server.stored("example.org", "ann"), server.stored("example.org", "bob")
    assert b"X-Original-To" not in ann
    assert b"X-Original-To: sales@example.org" in bob


def test_a_mapped_address_is_ipv4_in_the_trace() -> None:
    server = MemoryServer()
    connection = server.connect("::ffff:192.0.2.7")
    connection.greet()
    connection.send(transaction("user1@hostmeister.de", content=MESSAGE))
    assert b"from client.example ([192.0.2.7])" in server.stored("user1")[0]


def test_a_mailstore_that_raises_fails_every_recipient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Maildirs, "commit", lambda *_: 1 / 0)
    assert codes(send(MemoryServer(), "user1@hostmeister.de", "user2@hostmeister.de"))[-1] == "451 4.3.0"


# Trouble on our side


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        (errno.ENOSPC, "452 4.3.1"),
        (errno.EDQUOT, "452 4.3.1"),
        (errno.EIO, "451 4.3.0"),
        (errno.EROFS, "451 4.2.0"),
        (errno.ENOENT, "451 4.2.0"),
    ],
)
@pytest.mark.parametrize("call", ["open_new", "write", "fsync", "link", "fsync_directory"])
def test_a_disk_that_fails_is_4xx_and_nothing_is_visible(code: int, reply: str, call: str) -> None:
    server = MemoryServer()
    server.files.fail(code, call)
    assert codes(send(server, "user1@hostmeister.de", "user2@hostmeister.de"))[-1] == reply
    server.files.heal()
    assert server.all_stored == 0
    assert server.files.names(f"{ROOT}/user1/tmp") == []
    assert codes(send(server, "user1@hostmeister.de"))[-1] == "250 2.0.0"


def test_a_mailbox_known_to_be_unwritable_is_refused_at_rcpt_alone_until_it_is_well() -> None:
    server = MemoryServer()
    server.files.fail(errno.EROFS, path="/mail/user2")
    assert codes(send(server, "user1@hostmeister.de", "user2@hostmeister.de"))[-1] == "451 4.2.0"
    assert codes(send(server, "user1@hostmeister.de", "user2@hostmeister.de"))[1:] == [
        "250 2.1.5",
        "451 4.2.0",
        "354",
        "250 2.0.0",
    ]
    server.files.heal()
    assert codes(send(server, "user2@hostmeister.de"))[-1] == "250 2.0.0"


def test_a_message_lost_half_way_leaves_nothing() -> None:
    server = MemoryServer()
    connection = server.connect()
    connection.greet()
    connection.send(transaction("user1@hostmeister.de", content=b"x" * 600_000).removesuffix(b".\r\n"))
    connection.lose()
    assert server.all_stored == 0
    assert server.files.descriptors == []


@implementer(IDirectory)
class SlowDirectory:
    """A directory that answers later."""

    def __init__(self) -> None:
        self.answer: Deferred[tuple[Mailbox | Forward, ...]] = Deferred()

    def resolve(self, recipient: Address) -> Deferred[tuple[Mailbox | Forward, ...]]:
        return self.answer

    def mailboxes(self) -> list[Mailbox]:
        return []


def test_a_directory_may_answer_later() -> None:
    directory = SlowDirectory()
    server = MemoryServer(directory=directory)
    connection = server.connect()
    connection.greet()
    envelope, content = transaction("anybody@anywhere").split(b"DATA\r\n")
    assert codes(connection.send(envelope + b"DATA\r\n")) == ["250 2.1.0"]
    directory.answer.callback((Mailbox(Address("user1", "hostmeister.de"), f"{ROOT}/user1"),))
    assert codes(connection.received()) == ["250 2.1.5", "354"]
    assert codes(connection.send(content)) == ["250 2.0.0"]
    assert len(server.stored("user1")) == 1


def test_a_directory_that_is_away_is_4xx() -> None:
    directory = SlowDirectory()
    directory.answer = fail(ConnectionError("database away"))
    assert codes(send(MemoryServer(directory=directory), "a@b"))[1] == "451 4.3.0"


# Events


def test_one_event_per_fact_with_the_messages_id() -> None:
    with logged() as events:
        server = MemoryServer()
        send(server, "user1@hostmeister.de", "nobody@hostmeister.de", "user1@elsewhere.example", content=MESSAGE)
        server.files.fail(errno.EIO)
        send(server, "user1@hostmeister.de", content=MESSAGE)
    facts = [event for event in events if "id" in event]
    assert [event["event"] for event in facts] == [
        "recipient_accepted",
        "recipient_refused",
        "recipient_refused",
        "message_stored",
        "recipient_accepted",
        "message_failed",
    ]
    assert [event.get("reply", "")[:9] for event in facts[1:3]] == ["550 5.1.1", "550 5.7.1"]
    assert len({event["id"] for event in facts[:4]}) == 1
    assert facts[3]["size"] == len(MESSAGE.replace(b"\r\n", b"\n"))
    assert facts[3]["sender"] == "me@client.example"
    assert facts[3]["recipients"] == ["user1@hostmeister.de"]
    assert facts[3]["seconds"] == 0
    assert "error" in facts[5]["reason"].lower()
    assert all(b"hi" not in str(event).encode() for event in facts)


# Under Twisted's own session


@pytest.fixture
def stock() -> Iterator[tuple[MemoryServer, Connection]]:
    server = MemoryServer()
    factory = smtp.SMTPFactory()
    factory.protocol = smtp.ESMTP
    session = factory.buildProtocol(None)
    session.host = b"mx.example.org"
    session.deliveryFactory = server.reception
    connection = Connection(session, StringTransport())
    session.makeConnection(connection.transport)
    connection.send(b"EHLO client.example\r\n")
    yield server, connection
    connection.lose()


def test_our_delivery_runs_under_a_stock_session(stock: tuple[MemoryServer, Connection]) -> None:
    server, connection = stock
    for _ in range(2):
        got = connection.send(
            transaction("user1@hostmeister.de", "user2@hostmeister.de", "nobody@hostmeister.de", content=MESSAGE)
        )
        assert [line[:3] for line in got.split(b"\r\n")] == [b"250", b"250", b"250", b"550", b"354", b"250", b""]
    for mailbox in ("user1", "user2"):
        assert len(server.stored(mailbox)) == 2
        stored = server.stored(mailbox)[0]
        assert stored.startswith(b"Return-Path: <me@client.example>\nDelivered-To: " + mailbox.encode())
        assert stored.count(b"Received:") == 1
        assert b"Received: from client.example ([192.168.1.1])\n" in stored
        assert stored.endswith(DATE + b"\nSubject: x\n\nhi\n")


def test_under_a_stock_session_postmaster_needs_no_domain_either(stock: tuple[MemoryServer, Connection]) -> None:
    server, connection = stock
    connection.send(transaction("postmaster", content=MESSAGE))
    assert len(server.stored("user1")) == 1


def test_under_a_stock_session_a_failure_stores_nothing(stock: tuple[MemoryServer, Connection]) -> None:
    server, connection = stock
    server.files.fail(errno.EIO, "link")
    connection.send(transaction("user1@hostmeister.de", "user2@hostmeister.de", content=MESSAGE))
    server.files.heal()
    assert server.all_stored == 0


def test_what_a_stock_session_lets_through_as_an_address_is_refused(stock: tuple[MemoryServer, Connection]) -> None:
    _, connection = stock
    assert connection.send(b"MAIL FROM:<u@y..z>\r\n").startswith(b"501 ")
    assert connection.send(b"MAIL FROM:<u@y>\r\n").startswith(b"250 ")
    assert connection.send(b"RCPT TO:<u@-y>\r\n").startswith(b"501 ")


def test_the_trace_header_says_that_smtputf8_was_used() -> None:
    server = MemoryServer()
    connection = server.connect()
    connection.greet()
    connection.send("MAIL FROM:<jörg@client.example> SMTPUTF8\r\nRCPT TO:<user1@hostmeister.de>\r\n".encode())
    connection.send(b"BDAT 6 LAST\r\nS: x\r\n")
    (message,) = server.stored("user1")
    assert b" with UTF8SMTP id " in message
    assert message.startswith("Return-Path: <jörg@client.example>\n".encode())
