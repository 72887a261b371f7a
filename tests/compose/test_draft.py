"""The message a draft becomes."""

from __future__ import annotations

import email
import re
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses, parsedate_to_datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.compose.correspondent import Correspondent
from mailagent.compose.draft import Draft
from mailagent.envelope.address import Address

EVE = Correspondent(Address("eve", "example.com"), "Eve")
ANN, BOB, CAT = (Correspondent(Address(name, "example.org")) for name in ("ann", "bob", "cat"))
DRAFT = Draft(EVE, (ANN,), (BOB,), (CAT,), "Hello", "text\n")
NOON = 1_800_014_400.0

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
#: What a terminal or a command line that is not UTF-8 makes of its octets.
SURROGATES = st.binary().map(lambda octets: octets.decode("utf-8", "surrogateescape"))
LOCAL = st.from_regex(r'[a-z!#.+ "\\,;@<>()]{1,20}', fullmatch=True)
CORRESPONDENTS = st.builds(
    Correspondent,
    st.builds(Address, LOCAL, st.sampled_from(["example.org", "[192.0.2.1]", "a" * 60 + ".example"])),
    TEXT | SURROGATES,
)


def sent(draft: Draft) -> EmailMessage:
    return email.message_from_bytes(draft.on_the_wire(NOON, "id"), policy=policy.default)


def utf_8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def unified(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def test_the_header_is_complete() -> None:
    message = sent(DRAFT)
    assert parsedate_to_datetime(message["Date"]).timestamp() == NOON
    assert message["From"] == "Eve <eve@example.com>"
    assert message["To"] == "ann@example.org"
    assert message["Cc"] == "bob@example.org"
    assert message["Subject"] == "Hello"
    assert message["Message-ID"] == "<id@example.com>"
    assert message["MIME-Version"] == "1.0"
    assert unified(message.get_content()) == "text\n"


def test_bcc_never_leaves() -> None:
    assert b"cat" not in DRAFT.on_the_wire(NOON, "id").lower()
    assert b"bcc" not in DRAFT.on_the_wire(NOON, "id").lower()


def test_bcc_is_kept_with_what_is_kept() -> None:
    assert b"\nBcc: cat@example.org\n" in DRAFT.for_keeping(NOON, "id")


def test_what_is_kept_has_unix_line_ends() -> None:
    assert b"\r" not in DRAFT.for_keeping(NOON, "id")


def test_everybody_receives_once() -> None:
    draft = attrs.evolve(DRAFT, cc=(ANN, BOB), bcc=(Correspondent(Address("ann", "EXAMPLE.org")),))
    assert [address.local for address in draft.recipients] == ["ann", "bob"]


def test_a_recipient_is_replaced_wherever_it_stands() -> None:
    draft = attrs.evolve(DRAFT, bcc=(ANN,)).replacing(ANN.address, (CAT, EVE))
    assert (draft.to, draft.cc, draft.bcc) == ((CAT, EVE), (BOB,), (CAT, EVE))


@given(CORRESPONDENTS, st.lists(CORRESPONDENTS, max_size=4), TEXT | SURROGATES, TEXT | SURROGATES)
def test_any_message_is_safe_for_any_server(
    sender: Correspondent, to: list[Correspondent], subject: str, body: str
) -> None:
    wire = Draft(sender, tuple(to), tuple(to), (), subject, body).on_the_wire(NOON, "id")
    assert wire.isascii()
    assert b"\0" not in wire
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire)
    assert max(map(len, wire.split(b"\r\n"))) <= 998


@given(TEXT, TEXT)
def test_any_text_arrives_as_it_was_written(subject: str, body: str) -> None:
    message = sent(attrs.evolve(DRAFT, subject=subject, body=body))
    assert "".join(message["Subject"].split()) == "".join(re.sub(r"[\0-\x1f\x7f-\x9f]", "", subject).split())
    assert unified(message.get_content()) == unified(body)


@given(st.lists(CORRESPONDENTS, min_size=1))
def test_any_name_and_address_arrive_as_they_were_written(to: list[Correspondent]) -> None:
    raw = email.message_from_bytes(attrs.evolve(DRAFT, to=tuple(to)).on_the_wire(NOON, "id"))["To"]
    found = getaddresses([re.sub(r"\r\n(?=[ \t])", "", raw)])
    assert [address for _, address in found] == [str(who.address) for who in to]
    names = [str(make_header(decode_header(name))) for name, _ in found]
    assert ["".join(name.split()) for name in names] == ["".join(utf_8(who.name).split()) for who in to]


@pytest.mark.parametrize(
    "draft",
    [
        attrs.evolve(DRAFT, subject="x\r\nBcc: eve@example.com"),
        attrs.evolve(DRAFT, to=(Correspondent(ANN.address, "x\r\nBcc: eve@example.com"),)),
    ],
)
def test_no_field_can_be_smuggled_in(draft: Draft) -> None:
    assert set(sent(draft).keys()) == set(sent(DRAFT).keys())


@pytest.mark.parametrize("line", ["From here on", ".", "x" * 2000, "\xe9" * 500])
def test_a_line_of_any_kind_arrives(line: str) -> None:
    assert unified(sent(attrs.evolve(DRAFT, body=line)).get_content()) == line + "\n"
