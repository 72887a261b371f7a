"""The part of a report that programs read."""

from __future__ import annotations

from email import message_from_string
from email.message import Message

import attrs
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.reply import Reply
from mailagent.queue.delivery_status import delivery_status, fold, plain
from mailagent.queue.items import QueuedRecipient, StoredMessage
from mailagent.queue.notification import Notification
from tests.queue.support import ANN, NEVER, NOW

BOB = QueuedRecipient(1, Address("bob", "there.example"))
MESSAGE = StoredMessage("m1", NOW, Envelope(ANN, (), envelope_id="QQ 1"), b"", 0, ANN)
TOLD = Notification(BOB, "failed", "5.1.1", NEVER, "mx.there.example", NOW + 10, None)


def blocks(*told: Notification, message: StoredMessage = MESSAGE, international: bool = False) -> list[Message]:
    """The blocks of fields, read as headers."""
    text = delivery_status(message, told, "mx.example.org", international)
    return [message_from_string(block + "\n") for block in text.split("\n\n")]


def fields(block: Message) -> dict[str, str]:
    return {name: " ".join(value.split()) for name, value in block.items()}


def test_all_fields_of_a_message_and_a_recipient() -> None:
    recipient = attrs.evolve(BOB, notify=Notify(original=("rfc822", "robert@old.example")))
    first, second = blocks(attrs.evolve(TOLD, recipient=recipient, until=NOW + 1000))
    assert fields(first) == {
        "Original-Envelope-Id": "QQ 1",
        "Reporting-MTA": "dns; mx.example.org",
        "Arrival-Date": "Fri, 15 Jan 2027 08:00:00 +0000",
    }
    assert fields(second) == {
        "Original-Recipient": "rfc822; robert@old.example",
        "Final-Recipient": "rfc822; bob@there.example",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.there.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 nobody",
        "Last-Attempt-Date": "Fri, 15 Jan 2027 08:00:10 +0000",
        "Will-Retry-Until": "Fri, 15 Jan 2027 08:16:40 +0000",
    }


def test_what_is_not_known_is_not_told() -> None:
    message = attrs.evolve(MESSAGE, envelope=Envelope(ANN, ()))
    first, second = blocks(Notification(BOB, "failed", "4.4.7"), message=message)
    assert list(first) == ["Reporting-MTA", "Arrival-Date"]
    assert list(second) == ["Final-Recipient", "Action", "Status"]


def test_our_own_reply_is_nobody_elses() -> None:
    _, recipient = blocks(attrs.evolve(TOLD, host=""))
    assert fields(recipient)["Diagnostic-Code"] == "x-mailagent; 550 5.1.1 nobody"
    assert "Remote-MTA" not in recipient


def test_an_address_beyond_ascii_has_its_own_type() -> None:
    notify = Notify(original=("utf-8", "alt@bücher.example"))
    recipient = QueuedRecipient(1, Address("jürgen", "there.example"), notify)
    _, block = blocks(attrs.evolve(TOLD, recipient=recipient), international=True)
    assert fields(block)["Final-Recipient"] == "utf-8; jürgen@there.example"
    assert fields(block)["Original-Recipient"] == "utf-8; alt@bücher.example"


def test_a_reply_beyond_ascii_is_escaped_in_a_report_that_is_ascii() -> None:
    told = attrs.evolve(TOLD, reply=Reply(550, "5.1.1", "Größe"))
    assert fields(blocks(told)[1])["Diagnostic-Code"] == "smtp; 550 5.1.1 Gr\\xf6\\xdfe"
    assert fields(blocks(told, international=True)[1])["Diagnostic-Code"] == "smtp; 550 5.1.1 Größe"


text = st.text(max_size=1500)
replies = st.builds(Reply, st.just(550), st.just("5.1.1"), text)
recipients = st.builds(
    QueuedRecipient,
    st.just(1),
    st.builds(Address, text, text),
    st.builds(Notify, st.just(frozenset()), st.none() | st.tuples(text, text)),
)
notifications = st.builds(
    Notification, recipients, st.just("failed"), st.just("5.1.1"), replies, text, st.none() | st.just(NOW)
)


@given(st.lists(notifications, min_size=1, max_size=3), text, st.booleans())
def test_nothing_from_elsewhere_adds_a_field_or_a_line(
    told: list[Notification], envelope_id: str, international: bool
) -> None:
    message = attrs.evolve(MESSAGE, envelope=Envelope(ANN, (), envelope_id=envelope_id))
    written = delivery_status(message, told, "mx.example.org", international)
    assert len(written.split("\n\n")) == 1 + len(told)
    known = {"Original-Envelope-Id", "Reporting-MTA", "Arrival-Date", "Original-Recipient", "Final-Recipient", "Action"}
    known |= {"Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date"}
    for line in written.split("\n"):
        assert not line or line.startswith(" ") or line.partition(":")[0] in known
        assert line.isprintable()
        assert len(line.encode()) <= 998
    if not international:
        assert written.isascii()


@given(text, st.booleans())
def test_plain_text_is_one_bounded_line(given_text: str, international: bool) -> None:
    line = plain(given_text, international)
    assert line.isprintable()
    assert len(line.encode()) <= 4 * 800
    assert international or line.isascii()


@given(text)
def test_folding_keeps_the_words(given_text: str) -> None:
    assert (
        "".join("".join(fold(given_text)).split()) == "".join(given_text.split())
        or max(len(word.encode("utf-8", "surrogatepass")) for word in given_text.split()) > 900
    )
