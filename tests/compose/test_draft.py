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

from mailagent.compose.attachment import Attachment
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


def wire(draft: Draft) -> bytes:
    return b"".join(draft.on_the_wire(NOON, "id"))


def kept(draft: Draft) -> bytes:
    return b"".join(draft.for_keeping(NOON, "id"))


def sent(draft: Draft) -> EmailMessage:
    return email.message_from_bytes(wire(draft), policy=policy.default)


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
    assert b"cat" not in wire(DRAFT).lower()
    assert b"bcc" not in wire(DRAFT).lower()


def test_bcc_is_kept_with_what_is_kept() -> None:
    assert b"\nBcc: cat@example.org\n" in kept(DRAFT)


def test_what_is_kept_has_unix_line_ends() -> None:
    assert b"\r" not in kept(DRAFT)


def test_everybody_receives_once() -> None:
    draft = attrs.evolve(DRAFT, cc=(ANN, BOB), bcc=(Correspondent(Address("ann", "EXAMPLE.org")),))
    assert [address.local for address in draft.recipients] == ["ann", "bob"]


def test_a_recipient_is_replaced_wherever_it_stands() -> None:
    draft = attrs.evolve(DRAFT, bcc=(ANN,)).replacing(ANN.address, (CAT, EVE))
    assert (draft.to, draft.cc, draft.bcc) == ((CAT, EVE), (BOB,), (CAT, EVE))


def test_a_recipient_is_found_with_its_name() -> None:
    named = attrs.evolve(CAT, name="Cat")
    assert attrs.evolve(DRAFT, bcc=(named,)).correspondent(CAT.address) == named
    with pytest.raises(KeyError):
        DRAFT.correspondent(EVE.address)


@given(
    CORRESPONDENTS,
    st.lists(CORRESPONDENTS, max_size=4),
    TEXT | SURROGATES,
    TEXT | SURROGATES,
    (TEXT | SURROGATES).map(lambda name: name[:255]),
    st.binary(),
)
def test_any_message_is_safe_for_any_server(
    sender: Correspondent, to: list[Correspondent], subject: str, body: str, name: str, content: bytes
) -> None:
    octets = wire(Draft(sender, tuple(to), tuple(to), (), subject, body, (Attachment(name, "text/plain", content),)))
    assert octets.isascii()
    assert b"\0" not in octets
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", octets)
    assert max(map(len, octets.split(b"\r\n"))) <= 998


@given(TEXT, TEXT)
def test_any_text_arrives_as_it_was_written(subject: str, body: str) -> None:
    message = sent(attrs.evolve(DRAFT, subject=subject, body=body))
    assert "".join(message["Subject"].split()) == "".join(re.sub(r"[\0-\x1f\x7f-\x9f]", "", subject).split())
    assert unified(message.get_content()) == unified(body)


@given(st.lists(CORRESPONDENTS, min_size=1))
def test_any_name_and_address_arrive_as_they_were_written(to: list[Correspondent]) -> None:
    raw = email.message_from_bytes(wire(attrs.evolve(DRAFT, to=tuple(to))))["To"]
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


# Addresses beyond ASCII


def test_only_a_header_address_beyond_ascii_makes_the_header_utf_8() -> None:
    jorg = Correspondent(Address("j\xf6rg", "example.org"), "J\xf6rg")
    assert not attrs.evolve(DRAFT, bcc=(jorg,), subject="\xfc", body="\xfc").utf8_header
    assert attrs.evolve(DRAFT, cc=(jorg,)).utf8_header
    assert "\r\nTo: =?utf-8?b?SsO2cmc=?= <j\xf6rg@example.org>\r\n".encode() in wire(attrs.evolve(DRAFT, to=(jorg,)))


# Attachments

FILES = (
    Attachment("a.txt", "text/plain", b"one\n"),
    Attachment("b.bin", "application/octet-stream", bytes(range(256))),
)


def test_attachments_follow_the_text() -> None:
    message = sent(attrs.evolve(DRAFT, attachments=FILES))
    body = message.get_body()
    assert body is not None
    assert unified(body.get_content()) == "text\n"
    got = [(p.get_filename(), p.get_content_type(), p.get_payload(decode=True)) for p in message.iter_attachments()]
    assert got == [(file.name, file.type, file.source) for file in FILES]


@given(TEXT, st.lists(st.builds(Attachment, TEXT, st.just("image/png"), st.binary(max_size=300)), max_size=3))
def test_the_size_is_known_beforehand(body: str, attachments: list[Attachment]) -> None:
    draft = attrs.evolve(DRAFT, body=body, attachments=tuple(attachments))
    assert draft.on_the_wire(NOON, "id").size == len(wire(draft))
    assert draft.for_keeping(NOON, "id").size == len(kept(draft))


def test_who_has_it_already_stays_in_the_header_and_does_not_get_it_again() -> None:
    draft = attrs.evolve(DRAFT, accepted=(ANN,))
    assert [address.local for address in draft.recipients] == ["bob", "cat"]
    assert b"\r\nTo: ann@example.org\r\n" in wire(draft)
    assert b"Accepted" not in wire(draft)
