"""Submission: whose addresses are whose, and what is added to a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, succeed
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from zope.interface.verify import verifyObject

from mailagent.config import Config, HostSettings
from mailagent.config.values import Domain, UserName
from mailagent.directory.users_file import UsersFile
from mailagent.directory.whitelist import Whitelist
from mailagent.interfaces import ILogins
from mailagent.reception.header_scan import HeaderScan
from mailagent.reception.submission import SubmissionRealm
from mailagent.smtp.role import MX
from tests.dialogues.play import USERS
from tests.memory_server import Connection, MemoryServer, codes, transaction
from tests.reception.test_transaction import DATE
from tests.smtp.test_login import LOCAL, plain


def logged_in(server: MemoryServer, name: str = "ann") -> Connection:
    connection = server.connect(LOCAL)
    connection.greet()
    assert codes(connection.send(plain(name))) == ["235 2.7.0"]
    return connection


def may_send_as(connection: Connection, sender: str) -> bool:
    got = connection.send(f"MAIL FROM:<{sender}>\r\n".encode())
    connection.send(b"RSET\r\n")
    assert codes(got) in (["250 2.1.0"], ["550 5.7.1"])
    return got.startswith(b"250")


def stored(content: bytes, *recipients: str) -> bytes:
    """What lies in the mailbox, behind our trace fields."""
    server = MemoryServer(users=USERS)
    connection = logged_in(server)
    connection.send(transaction(*(recipients or ("user1@hostmeister.de",)), sender="ann@example.org", content=content))
    return server.stored("user1")[0].partition(DATE + b"\n")[2]


def test_the_objects_provide_what_they_say() -> None:
    server = MemoryServer(users=USERS)
    assert server.logins is not None
    verifyObject(ILogins, server.logins)
    realm = SubmissionRealm(server.reception, server.logins)
    verifyObject(IRealm, realm)
    interface, avatar, _ = realm.requestAvatar(b"ann", None, IMessageDeliveryFactory)
    assert interface is IMessageDeliveryFactory
    verifyObject(IMessageDeliveryFactory, avatar)
    verifyObject(IMessageDelivery, avatar.getMessageDelivery())
    with pytest.raises(NotImplementedError):
        realm.requestAvatar(b"ann", None, IMessageDelivery)


def test_a_name_that_is_an_address_owns_it_and_no_other() -> None:
    file = UsersFile.parse(bytes(USERS).replace(b"ann:", b"zoe@partner.example:"))
    connection = logged_in(MemoryServer(users=file), "zoe@partner.example")
    senders = ["zoe@partner.example", "zoe+x@PARTNER.example", "zoe@example.org", "ann@example.org"]
    assert [may_send_as(connection, sender) for sender in senders] == [True, True, False, False]


def test_a_tag_that_makes_somebody_elses_address_is_refused() -> None:
    names = UserName("ann"), UserName("ann+lists")
    directory = Whitelist.from_config(Config(hosts={Domain("example.org"): HostSettings(users=names)}))
    file = UsersFile.parse(bytes(USERS).replace(b"ann:", b"ann@example.org:"))
    connection = logged_in(MemoryServer(users=file, directory=directory), "ann@example.org")
    senders = ["ann@example.org", "ann+x@example.org", "ann+lists@example.org"]
    assert [may_send_as(connection, sender) for sender in senders] == [True, True, False]


def test_an_alias_is_not_its_users_and_a_login_without_mailbox_owns_nothing() -> None:
    file = UsersFile.parse(bytes(USERS).replace(b"ann:", b"sales:"))
    connection = logged_in(MemoryServer(users=file), "sales")
    assert not may_send_as(connection, "sales@example.org")
    assert not may_send_as(connection, "nobody@example.org")
    assert may_send_as(connection, "")


def test_by_setting_anybody_sends_as_anybody() -> None:
    server = MemoryServer(users=USERS)
    assert server.logins is not None
    avatar = SubmissionRealm(server.reception, server.logins, own_addresses=False).requestAvatar(
        b"ann", None, IMessageDeliveryFactory
    )[1]
    connection = logged_in(server)
    connection.session.deliveryFactory = avatar
    assert may_send_as(connection, "bob@elsewhere.example")


def test_who_was_deleted_sends_no_more_not_even_in_an_open_session(monkeypatch: pytest.MonkeyPatch) -> None:
    server = MemoryServer(users=USERS)
    connection = logged_in(server)
    logins = server.logins
    assert logins is not None

    def refresh() -> Deferred[None]:
        logins.take_up(USERS.removing("ann"))
        return succeed(None)

    monkeypatch.setattr(logins, "refresh", refresh)
    assert not may_send_as(connection, "ann@example.org")


def test_missing_date_and_message_id_are_added_and_the_rest_is_left_alone() -> None:
    content = b"Subject: x\r\nBcc: y\r\n\r\nDate: no field\r\n"
    head, _, rest = stored(content).partition(b"Subject:")
    assert head.startswith(b"Date: " + DATE + b"\nMessage-ID: <")
    assert head.endswith(b"@mx.example.org>\n")
    assert b"Subject:" + rest == content.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("content", "added"),
    [
        (b"date: x\r\nMESSAGE-ID : <y>\r\n\r\nhi\r\n", b""),
        (b"Message-Id: <y>\r\n\r\nhi\r\n", b"Date: " + DATE + b"\n"),
        (b"Date: x\r\nMessage-ID: <y>\r\n", b""),
    ],
)
def test_what_is_there_is_not_added(content: bytes, added: bytes) -> None:
    assert stored(content) == added + content.replace(b"\r\n", b"\n")


def test_strangers_messages_are_given_nothing() -> None:
    server = MemoryServer(users=USERS, role=MX)
    connection = server.connect()
    connection.greet()
    connection.send(transaction("user1@hostmeister.de", content=b"Subject: x\r\n\r\nhi\r\n"))
    assert server.stored("user1")[0].partition(DATE + b"\n")[2] == b"Subject: x\n\nhi\n"


@given(
    fields=st.lists(st.sampled_from([b"Date: x", b"Subject: " + b"y" * 2000, b"\tDate: folded", b"X" * 3000, b"A:"])),
    cuts=st.lists(st.integers(0, 200)),
)
def test_the_header_is_seen_however_it_is_cut(fields: list[bytes], cuts: list[int]) -> None:
    content = b"".join(line + b"\n" for line in [b"From: a", *fields]) + b"\nMessage-ID: in the body\n"
    scan = HeaderScan(frozenset({b"date", b"message-id"}))
    for cut in cuts:
        scan.feed(content[:cut])
        content = content[cut:]
    scan.feed(content)
    assert scan.present == ({b"date"} if b"Date: x" in fields else set())


def test_the_header_ends_where_no_field_goes_on() -> None:
    scan = HeaderScan(frozenset({b"date", b"subject"}))
    scan.feed(b"Subject: x\n folded\nbody text\nDate: tomorrow\n\n")
    assert scan.present == {b"subject"}
