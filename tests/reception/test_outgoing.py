"""Mail that leaves: who may send it, and what goes to the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.forward import Forward
from mailagent.envelope.notify import Notify
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import StorageFailed, StorageFull
from mailagent.reception.dispatch import ids
from mailagent.reception.outgoing import Outgoing, is_loop
from mailagent.reception.recipient import Recipient
from mailagent.reception.relay_networks import RelayNetworks
from tests.dialogues.play import USERS
from tests.memory_server import STRANGER, Connection, MemoryQueue, MemoryServer, codes, transaction
from tests.reception.test_submission import logged_in

MESSAGE = b"Subject: x\r\n\r\nhi\r\n"
TRUSTED = {"relay_networks": RelayNetworks.of([STRANGER])}
FAR = Address("far", "elsewhere.example")


def served(trusted: bool = True, **more: Any) -> tuple[MemoryServer, MemoryQueue, Connection]:
    """A server with a queue, and a client, whose network may relay if it is C{trusted}."""
    queue = MemoryQueue()
    server = MemoryServer(queue=queue, reception=(TRUSTED if trusted else {}) | more)
    connection = server.connect()
    connection.greet()
    return server, queue, connection


def queued(queue: MemoryQueue) -> list[tuple[str, list[str], str]]:
    """What is in a queue: id, recipients, whom it reports to."""
    return [
        (message.id, [str(each) for each in message.envelope.recipients], str(message.report_to))
        for message, _ in queue.messages
    ]


def test_strangers_send_nobody_elsewhere() -> None:
    _, queue, connection = served(trusted=False)
    got = connection.send(b"MAIL FROM:<me@client.example>\r\nRCPT TO:<far@elsewhere.example>\r\n")
    assert codes(got) == ["250 2.1.0", "550 5.7.1"]
    assert queue.messages == []


def test_a_listed_network_and_a_login_send_anywhere() -> None:
    _, queue, connection = served()
    assert codes(connection.send(transaction("far@elsewhere.example")))[-1] == "250 2.0.0"
    assert queued(queue)[0][2] == "me@client.example"
    server = MemoryServer(users=USERS, queue=queue)
    connection = logged_in(server)
    got = connection.send(transaction("far@elsewhere.example", sender="ann@example.org", content=MESSAGE))
    assert codes(got)[-1] == "250 2.0.0"
    message, _ = queue.messages[1]
    assert (message.login, message.report_to) == ("ann", Address("ann", "example.org"))
    assert b"\nMessage-ID: <" in message.header


def test_local_and_remote_recipients_are_one_commit() -> None:
    server, queue, connection = served()
    got = connection.send(transaction("user1@hostmeister.de", "far@elsewhere.example", "B@c.example", content=MESSAGE))
    id_ = got.split(b"Stored as ")[1].split()[0].decode()
    assert queued(queue) == [(id_, ["far@elsewhere.example", "B@c.example"], "me@client.example")]
    ((message, content),) = queue.messages
    assert content == MESSAGE.replace(b"\r\n", b"\n")
    assert message.header.startswith(b"Received: from client.example")
    assert b"for <" not in message.header
    assert message.envelope.size == len(message.header) + len(content)
    assert len(server.stored("user1")) == 1


@pytest.mark.parametrize("recipients", [("far@elsewhere.example", "user1@hostmeister.de"), ("far@elsewhere.example",)])
def test_large_content_is_kept_with_a_mailbox_else_in_the_spool(recipients: tuple[str, ...]) -> None:
    server, queue, connection = served()
    places: list[str] = []
    open_anonymous = server.files.open_anonymous

    def watched(directory: str) -> int:
        places.append(directory)
        return open_anonymous(directory)

    server.files.open_anonymous = watched  # type: ignore[method-assign]
    content = b"A: b\r\n\r\n" + (b"x" * 998 + b"\r\n") * 1000
    assert codes(connection.send(transaction(*recipients, content=content)))[-1] == "250 2.0.0"
    assert places == ["/mail/user1/tmp" if len(recipients) > 1 else "/spool/tmp"]
    assert queue.messages[0][1] == content.replace(b"\r\n", b"\n")
    assert server.files.descriptors == []


@pytest.mark.parametrize(("trouble", "reply"), [(StorageFull(), "452 4.3.1"), (StorageFailed("away"), "451 4.3.0")])
def test_a_queue_in_trouble_is_4xx_and_no_copy_stays(trouble: Exception, reply: str) -> None:
    server, queue, connection = served()
    queue.trouble = trouble
    got = connection.send(transaction("user1@hostmeister.de", "far@elsewhere.example"))
    assert codes(got)[-1] == reply
    assert server.all_stored == 0
    assert server.files.descriptors == []


def test_an_alias_has_a_message_of_its_own_whose_owner_hears_of_failures() -> None:
    server, queue, connection = served(trusted=False)
    connection.send(transaction("team@example.org", "abroad@example.org", content=MESSAGE))
    ((_, who, owner),) = queued(queue)  # nobody is left for the other one
    assert (who, owner) == (["far@elsewhere.example", "b@c.example"], "owner-team@example.org")
    assert queue.messages[0][0].header.startswith(b"Delivered-To: team@example.org\nReceived: ")
    assert len(server.stored("example.org", "ann")) == 1


def test_without_an_owner_the_postmaster_hears_and_of_the_null_sender_nobody() -> None:
    _, queue, connection = served(trusted=False)
    connection.send(transaction("abroad@example.org"))
    connection.send(transaction("abroad@example.org", sender=""))
    assert [report_to for _, _, report_to in queued(queue)] == ["postmaster@example.org", "None"]


def test_who_is_named_and_forwarded_to_is_sent_one_message() -> None:
    _, queue, connection = served()
    connection.send(transaction("abroad@example.org", "far@Elsewhere.example", "far@elsewhere.EXAMPLE"))
    assert [who for _, who, _ in queued(queue)] == [["far@elsewhere.EXAMPLE"]]


def test_a_message_that_the_alias_has_forwarded_before_is_a_loop() -> None:
    server, queue, connection = served(trusted=False)
    loop = b"Received: x\r\ndelivered-to:  Team@Example.org \r\n" + MESSAGE
    assert codes(connection.send(transaction("team@example.org", content=loop)))[-1] == "554 5.4.6"
    assert (server.all_stored, queue.messages) == (0, [])
    body = MESSAGE + b"Delivered-To: team@example.org\r\n"
    assert codes(connection.send(transaction("team@example.org", content=body)))[-1] == "250 2.0.0"


@pytest.mark.parametrize(
    ("declared", "content", "eight_bit", "utf8_header"),
    [
        (b"BODY=8BITMIME SMTPUTF8", MESSAGE, False, False),
        (b"", b"A: b\r\n\r\n\xc3\xbc\r\n", True, False),
        (b"SMTPUTF8", b"A: b\r\n\r\n\xc3\xbc\r\n", True, False),
        (b"SMTPUTF8", b"A: \xc3\xbc\r\n\r\nx\r\n", True, True),
        (b"", b"A: \xc3\xbc\r\n\r\nx\r\n", True, False),
    ],
)
def test_the_queued_envelope_says_what_the_content_really_holds(
    declared: bytes, content: bytes, eight_bit: bool, utf8_header: bool
) -> None:
    _, queue, connection = served()
    connection.send(b"MAIL FROM:<me@client.example> " + declared + b"\r\n")
    got = connection.send(b"RCPT TO:<far@elsewhere.example>\r\nBDAT %d LAST\r\n" % len(content) + content)
    assert codes(got)[-1] == "250 2.0.0"
    envelope = queue.messages[0][0].envelope
    assert (envelope.eight_bit, envelope.utf8_header) == (eight_bit, utf8_header)


@pytest.mark.parametrize("recipient", ["far@" + "x" * 64 + "ä.example", "far@\u0378.example"])
def test_a_remote_domain_must_be_one(recipient: str) -> None:
    _, queue, connection = served()
    got = connection.send(f"MAIL FROM:<me@client.example> SMTPUTF8\r\nRCPT TO:<{recipient}>\r\n".encode())
    assert codes(got)[1][0] == "5"
    assert queue.messages == []


@pytest.mark.parametrize("sender", ["me@\u0378.example", "me@" + "x" * 64 + "ä.example"])
def test_a_sender_who_could_not_be_told_of_a_failure_is_refused(sender: str) -> None:
    _, _, connection = served()
    assert codes(connection.send(f"MAIL FROM:<{sender}> SMTPUTF8\r\n".encode())) == ["501 5.1.7"]


@pytest.mark.parametrize("domain", ["xn--i-7iq.ws", "xn--a.example"])
def test_a_domain_of_the_dns_that_idna_does_not_know_sends_and_receives(domain: str) -> None:
    _, queue, connection = served()
    assert codes(connection.send(transaction(f"far@{domain}", sender=f"me@{domain}")))[-1] == "250 2.0.0"
    [(message, _)] = queue.messages
    assert message.report_to is not None
    assert (message.report_to.host, message.envelope.recipients[0].host) == (domain, domain)


def test_without_a_queue_nothing_leaves() -> None:
    server = MemoryServer(reception=TRUSTED)
    connection = server.connect()
    connection.greet()
    connection.send(b"MAIL FROM:<me@client.example>\r\n")
    assert codes(connection.send(b"RCPT TO:<far@elsewhere.example>\r\n")) == ["550 5.7.1"]
    assert codes(connection.send(b"RCPT TO:<abroad@example.org>\r\n")) == ["451 4.3.0"]


def compose(message: QueuedMessage, outcomes: Sequence[Outcome], beginning: bytes) -> tuple[QueuedMessage, bytes]:
    """A report, as short as possible."""
    assert message.report_to is not None
    told = " ".join(f"{each.recipient}:{each.notice}" for each in outcomes)
    return QueuedMessage("report", Envelope(None, (message.report_to,)), b"", None), told.encode() + b"|" + beginning


def notified(*recipients: str, sender: str = "me@client.example", **more: Any) -> tuple[MemoryQueue, Connection]:
    """A server that has taken a message for recipients, who are named with their parameters."""
    _, queue, connection = served(compose_notice=compose, **more)
    lines = [f"MAIL FROM:<{sender}> ENVID=e RET=HDRS", *(f"RCPT TO:{recipient}" for recipient in recipients), "DATA"]
    got = connection.send("".join(f"{line}\r\n" for line in lines).encode() + MESSAGE + b".\r\n")
    assert codes(got)[-1] == "250 2.0.0"
    return queue, connection


def test_what_the_sender_wants_to_hear_goes_with_the_message() -> None:
    queue, _ = notified("<far@elsewhere.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y", "<b@c.example>")
    ((message, _),) = queue.messages
    assert (message.envelope.envelope_id, message.envelope.returned) == ("e", "HDRS")
    assert message.envelope.notify == {FAR: Notify(frozenset({"SUCCESS", "DELAY"}), ("rfc822", "x@y"))}


def test_who_asks_hears_of_success_with_the_deliverys_own_commit() -> None:
    queue, _ = notified(
        "<user1@hostmeister.de> NOTIFY=SUCCESS",
        "<user2@hostmeister.de> NOTIFY=FAILURE",
        "<sales@example.org> NOTIFY=SUCCESS",
        "<abroad@example.org> NOTIFY=SUCCESS",
    )
    (forwarded, _), (report, content) = queue.messages
    assert content == (
        b"user1@hostmeister.de:delivered sales@example.org:expanded abroad@example.org:relayed|Subject: x\n\nhi\n"
    )
    assert (report.envelope.reverse_path, report.envelope.recipients) == (None, (Address("me", "client.example"),))
    assert forwarded.envelope.wishes(FAR).conditions == {"NEVER"}


@pytest.mark.parametrize(
    ("recipient", "sender"),
    [("<user1@hostmeister.de>", "me@client.example"), ("<user1@hostmeister.de> NOTIFY=SUCCESS", "")],
)
def test_nobody_else_is_told(recipient: str, sender: str) -> None:
    queue, _ = notified(recipient, sender=sender)
    assert queue.messages == []


def test_a_notice_that_cannot_be_queued_takes_the_copies_back() -> None:
    server, queue, connection = served(compose_notice=compose)
    queue.trouble = StorageFull()
    got = connection.send(
        b"MAIL FROM:<me@client.example>\r\nRCPT TO:<user1@hostmeister.de> NOTIFY=SUCCESS\r\nDATA\r\n"
        + MESSAGE
        + b".\r\n"
    )
    assert codes(got)[-1] == "452 4.3.1"
    assert server.all_stored == 0


# Pure values

addresses = st.builds(Address, st.sampled_from("ab"), st.sampled_from(["x.example", "X.example", "y.example"]))
forwards = st.builds(
    Forward, addresses, st.sampled_from([Address("l", "o.example"), Address("m", "o.example")]), addresses
)
recipients = st.builds(
    Recipient,
    addresses,
    forwards=st.lists(forwards, max_size=3).map(tuple),
    notify=st.builds(Notify, st.just(frozenset({"SUCCESS"}))),
)


def key(address: Address) -> tuple[str, str]:
    return address.local, address.host


@given(st.lists(recipients, max_size=5))
def test_everybody_elsewhere_is_sent_one_message_under_an_id_of_its_own(given: list[Recipient]) -> None:
    found = Outgoing(Envelope(FAR, (), size=5), b"H: x\n").messages(given, ids("id"))
    sent = [key(address) for message in found for address in message.envelope.recipients]
    meant = {key(each.address) for each in given if each.remote} | {
        key(forward.address) for each in given for forward in each.forwards
    }
    assert len(sent) == len(set(sent))
    assert set(sent) == meant
    assert len({message.id for message in found}) == len(found)
    assert not found or found[0].id == "id"
    for message in found:
        forwarded = message.header.startswith(b"Delivered-To: ")
        wishes = [message.envelope.wishes(address).conditions for address in message.envelope.recipients]
        assert set(wishes) == {frozenset({"NEVER"}) if forwarded else frozenset({"SUCCESS"})}


def test_a_loop_is_told_by_the_alias_in_any_case() -> None:
    forward = Forward(FAR, Address("Sales", "example.org"), FAR)
    assert is_loop([forward], {"sales@example.org"})
    assert not is_loop([forward], {"sales@example.net"})


def test_identifiers_of_a_messages_parts() -> None:
    numbers = ids("x")
    assert [next(numbers) for _ in range(3)] == ["x", "x-2", "x-3"]
