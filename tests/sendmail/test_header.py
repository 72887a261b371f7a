"""A header as C{sendmail} takes it: recipients, C{Bcc}, C{From}."""

from __future__ import annotations

from mailagent.envelope.address import Address
from mailagent.sendmail.header import Header, header_of

ANN, BOB, CAT = (Address(name, "a.example") for name in ("ann", "bob", "cat"))


def header(*lines: str) -> Header:
    return header_of([f"{line}\n".encode() for line in lines])


def test_recipients_are_those_of_to_cc_and_bcc_each_once() -> None:
    found = header("To: ann@a.example,", " bob", "Subject: x", "CC : bob@a.example", "bcc: cat")
    assert found.recipients("a.example") == [ANN, BOB, CAT]


def test_of_a_message_sent_again_they_are_those_of_then() -> None:
    assert header("Resent-To: bob", "Resent-Bcc: cat", "To: ann").recipients("a.example") == [BOB, CAT]


def test_bcc_is_removed_with_all_its_lines() -> None:
    found = header("To: ann", "Bcc: bob,", "\tcat", "Resent-Bcc: cat", "Subject: bcc: x")
    assert bytes(found.without_bcc()) == b"To: ann\nSubject: bcc: x\n"


def test_an_author_is_added_only_where_there_is_none() -> None:
    assert bytes(header("Subject: x").with_author(ANN, "")) == b"From: ann@a.example\nSubject: x\n"
    assert bytes(header("FROM: x").with_author(ANN, "Ann")) == b"FROM: x\n"


def test_a_full_name_is_quoted_or_encoded_and_cannot_add_a_field() -> None:
    assert bytes(Header().with_author(ANN, "Smith, Ann")) == b'From: "Smith, Ann" <ann@a.example>\n'
    assert bytes(Header().with_author(ANN, "J\u00f6rg")) == b"From: =?utf-8?b?SsO2cmc=?= <ann@a.example>\n"
    assert bytes(Header().with_author(ANN, "A\r\nBcc: x")).count(b"\n") == 1
