"""Reports, as those who get them see them: read by the standard library's C{email}."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import QueuedRecipient, StoredMessage
from mailagent.queue.notification import Notification
from mailagent.queue.report import compose
from mailagent.queue.returned import Returned
from tests.queue.support import ANN, LATER, NEVER, NOW

BOB = QueuedRecipient(1, Address("bob", "there.example"))
EVE = QueuedRecipient(2, Address("eve", "there.example"))
MESSAGE = StoredMessage("m1", NOW, Envelope(ANN, ()), b"", 0, ANN)
BOUNCE = attrs.evolve(MESSAGE, envelope=Envelope(None, ()))
FAILED = Notification(BOB, "failed", "5.1.1", NEVER, "mx.there.example", NOW + 10)
HEADER = Returned(b"From: ann@example.org\nSubject: hello\n")


def report(
    *told: Notification, message: StoredMessage = MESSAGE, returned: Returned = HEADER
) -> tuple[QueuedMessage, bytes]:
    return compose(message, told or (FAILED,), returned, "mx.example.org", "r1", NOW + 20)


def read(content: bytes) -> EmailMessage:
    found = message_from_bytes(content, policy=policy.default.clone(utf8=True))
    assert not [part.defects for part in found.walk() if part.defects]
    return found


def parts(content: bytes) -> list[EmailMessage]:
    return cast(list[EmailMessage], list(read(content).iter_parts()))


def explanation(content: bytes) -> str:
    return cast(str, parts(content)[0].get_content())


def types(content: bytes) -> list[str]:
    return [part.get_content_type() for part in parts(content)]


def test_a_report_has_the_null_sender_and_goes_to_whom_the_message_says() -> None:
    queued, content = report()
    assert (queued.id, queued.header, queued.login) == ("r1", b"", "")
    assert queued.envelope == Envelope(None, (ANN,), size=len(content))


def test_its_header() -> None:
    found = read(report()[1])
    assert found["From"] == "Mail delivery <MAILER-DAEMON@mx.example.org>"
    assert found["To"] == "ann@example.org"
    assert found["Subject"] == "Mail could not be delivered"
    assert found["Date"] == "Fri, 15 Jan 2027 08:00:20 +0000"
    assert found["Message-ID"] == "<r1@mx.example.org>"
    assert found["Auto-Submitted"] == "auto-replied"
    assert found["MIME-Version"] == "1.0"
    assert found.get_content_type() == "multipart/report"
    assert found.get_param("report-type") == "delivery-status"


def test_people_read_what_happened() -> None:
    text = explanation(report()[1])
    assert "The message m1 from <ann@example.org>" in text
    assert "<bob@there.example>: mx.there.example said: 550 5.1.1 nobody" in text


def test_programs_read_what_happened() -> None:
    [_, status, _] = parts(report()[1])
    assert status.get_content_type() == "message/delivery-status"
    message, recipient = cast(list[EmailMessage], status.get_payload())
    assert message["Reporting-MTA"] == "dns; mx.example.org"
    assert recipient["Final-Recipient"] == "rfc822; bob@there.example"
    assert recipient["Action"] == "failed"


def test_several_recipients_share_one_report() -> None:
    [_, status, _] = parts(report(FAILED, attrs.evolve(FAILED, recipient=EVE))[1])
    blocks = cast(list[EmailMessage], status.get_payload())
    assert [block["Final-Recipient"] for block in blocks[1:]] == [
        "rfc822; bob@there.example",
        "rfc822; eve@there.example",
    ]


@pytest.mark.parametrize(
    ("action", "subject"),
    [
        ("failed", "Mail could not be delivered"),
        ("delayed", "Mail is delayed"),
        ("delivered", "Mail has been delivered"),
        ("relayed", "Mail has been delivered"),
        ("expanded", "Mail has been delivered"),
    ],
)
def test_the_subject_says_what_it_is_about(action: str, subject: str) -> None:
    assert read(report(attrs.evolve(FAILED, action=action))[1])["Subject"] == subject


def test_failure_is_the_subject_where_some_arrived() -> None:
    relayed = attrs.evolve(FAILED, recipient=EVE, action="relayed")
    assert read(report(relayed, FAILED)[1])["Subject"] == "Mail could not be delivered"


def test_a_delay_says_until_when_it_is_tried() -> None:
    _, content = report(attrs.evolve(FAILED, action="delayed", reply=LATER, until=NOW + 3600))
    assert "until Fri, 15 Jan 2027 09:00:00 +0000" in " ".join(explanation(content).split())


def test_the_header_goes_back() -> None:
    last = parts(report()[1])[-1]
    assert last.get_content_type() == "text/rfc822-headers"
    assert last.get_content().rstrip("\n").encode() == HEADER.octets.rstrip(b"\n")


def test_a_small_message_goes_back_as_it_was() -> None:
    whole = Returned(b"Subject: hi\n\n--=_r1--\nFrom here\n.\n", True)
    _, content = report(returned=whole)
    assert types(content) == ["text/plain", "message/delivery-status", "message/rfc822"]
    assert whole.octets in content


def test_the_message_cannot_end_the_report() -> None:
    _, content = report(returned=Returned(b"A: 1\n\n\n--=_r1--\n--=_r1_--\n", True))
    assert read(content).get_boundary() == "=_r1__"
    assert len(parts(content)) == 3


def test_a_report_is_ascii_where_all_addresses_are() -> None:
    told = attrs.evolve(FAILED, reply=Reply(550, "", "nö"), host="mä")
    queued, content = report(told)
    assert content.isascii()
    assert not queued.envelope.eight_bit


def test_eight_bit_of_the_message_goes_back_as_it_is() -> None:
    queued, content = report(returned=Returned(b"Subject: \xe9\n"))
    assert b"Subject: \xe9\n" in content
    assert b"Content-Transfer-Encoding: 8bit" in content
    assert (queued.envelope.eight_bit, queued.envelope.utf8_header) == (True, False)


@pytest.mark.parametrize("whole", [True, False])
def test_with_an_address_beyond_ascii_a_report_is_international(whole: bool) -> None:
    told = attrs.evolve(FAILED, recipient=QueuedRecipient(1, Address("jürgen", "there.example")))
    queued, content = report(told, returned=attrs.evolve(HEADER, whole=whole))
    assert types(content) == [
        "text/plain",
        "message/global-delivery-status",
        "message/global" if whole else "message/global-headers",
    ]
    assert read(content).get_param("report-type") == "global-delivery-status"
    assert "Final-Recipient: utf-8; jürgen@there.example\n".encode() in content
    assert "<jürgen@there.example>" in explanation(content)
    assert (queued.envelope.eight_bit, queued.envelope.utf8_header) == (True, False)


def test_a_reader_beyond_ascii_is_named_in_utf8() -> None:
    queued, content = report(message=attrs.evolve(MESSAGE, report_to=Address("änn", "example.org")))
    assert "\nTo: <änn@example.org>\n".encode() in content
    assert (queued.envelope.eight_bit, queued.envelope.utf8_header) == (True, True)


def test_a_message_with_utf8_in_its_header_goes_back_as_one() -> None:
    message = attrs.evolve(MESSAGE, envelope=Envelope(ANN, (), utf8_header=True))
    assert types(report(message=message)[1])[1:] == ["message/global-delivery-status", "message/global-headers"]


def test_the_postmaster_hears_of_a_bounce_that_bounces_and_nobody_of_that_one() -> None:
    first, _ = report()
    assert first.report_to == Address("postmaster", "mx.example.org")
    second, _ = report(message=attrs.evolve(BOUNCE, report_to=first.report_to))
    assert second.envelope.recipients == (Address("postmaster", "mx.example.org"),)
    assert second.report_to is None


text = st.text(max_size=300)
addresses = st.builds(Address, text.filter(bool), text)
told = st.builds(
    Notification,
    st.builds(QueuedRecipient, st.just(1), addresses),
    st.sampled_from(["failed", "delayed", "relayed"]),
    st.just("5.1.1"),
    st.none() | st.builds(Reply, st.just(550), text, text),
    text,
)


@given(addresses, addresses, st.lists(told, min_size=1, max_size=3), st.binary(max_size=300), st.booleans())
def test_whatever_comes_from_elsewhere_a_report_has_its_header_and_three_parts(
    to: Address, sender: Address, told: list[Notification], octets: bytes, whole: bool
) -> None:
    message = attrs.evolve(MESSAGE, report_to=to, envelope=Envelope(sender, ()))
    queued, content = report(*told, message=message, returned=Returned(octets, whole))
    head, _, body = content.partition(b"\n\n")
    names = [line.partition(b":")[0] for line in head.split(b"\n") if not line.startswith(b"\t")]
    assert names == b"From To Subject Date Message-ID Auto-Submitted MIME-Version Content-Type".split()
    found = message_from_bytes(content)
    assert len(cast(list[object], found.get_payload())) == 3
    assert body.count(b"--" + cast(str, found.get_boundary()).encode()) == 4
    assert octets in content
    assert queued.envelope.size == len(content)
    assert queued.envelope.eight_bit == (not content.isascii())
