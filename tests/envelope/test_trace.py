"""The header fields a server puts ahead of a message."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.trace import (
    Client,
    address_literal,
    begins_with_field,
    delivery_fields,
    header_for_text,
    received,
    received_from_user,
)

ANN = Address("ann", "example.org")
BOB = Address("bob", "example.org")
CLIENT = Client("192.0.2.1", "client.example", "ESMTP")
MOMENT = 1793620800.0  # Mon, 02 Nov 2026 12:00:00 +0000


def field(client: Client = CLIENT, recipients: tuple[Address, ...] = (ANN,)) -> str:
    return received(client, "mx.example.org", "0000id", recipients, MOMENT).decode()


def test_received_tells_peer_helo_name_protocol_id_recipient_and_date() -> None:
    assert field() == (
        "Received: from client.example ([192.0.2.1])\n"
        "\tby mx.example.org with ESMTP id 0000id\n"
        "\tfor <ann@example.org>;\n"
        "\tMon, 02 Nov 2026 12:00:00 +0000\n"
    )


def test_received_tells_who_sent_on_this_machine() -> None:
    text = received_from_user("www (data)\n", 33, "mx.example.org", "0000id", (ANN,), MOMENT).decode()
    assert text == (
        "Received: by mx.example.org (from user www??data??, number 33) id 0000id\n"
        "\tfor <ann@example.org>;\n"
        "\tMon, 02 Nov 2026 12:00:00 +0000\n"
    )


def test_received_tells_of_tls() -> None:
    assert "\t(using TLSv1.3 with cipher X)\n" in field(
        Client("192.0.2.1", "a.example", "ESMTPS", "TLSv1.3 with cipher X")
    )


def test_received_names_no_recipient_when_there_are_several() -> None:
    text = field(recipients=(ANN, BOB))
    assert "for" not in text
    assert "id 0000id;\n" in text


@pytest.mark.parametrize("helo", ["a b", "a\r\nX: y", "(", "a)", "", "é", "<x>", "a;b", "a\n"])
def test_a_helo_name_that_is_none_is_left_out_of_received(helo: str) -> None:
    assert field(Client("192.0.2.1", helo)).startswith("Received: from [192.0.2.1]\n\tby ")


@pytest.mark.parametrize("helo", ["localhost", "my_host.example", "[192.0.2.7]", "[IPv6:2001:db8::1]"])
def test_a_helo_name_or_literal_stands_ahead_of_the_address(helo: str) -> None:
    assert field(Client("192.0.2.1", helo)).startswith(f"Received: from {helo} ([192.0.2.1])\n")


@given(st.text())
def test_no_helo_name_can_add_a_line_to_received(helo: str) -> None:
    text = field(Client("192.0.2.1", helo))
    assert text.count("\n") == 4
    assert len(message_from_bytes(text.encode(), policy=policy.default)) == 1


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("", "[unknown]"),
        ("/run/socket", "[unknown]"),
    ],
)
def test_an_address_stands_in_brackets(address: str, literal: str) -> None:
    assert address_literal(address) == literal


def test_delivery_fields_tell_sender_and_mailbox() -> None:
    assert delivery_fields(BOB, ANN, ANN) == b"Return-Path: <bob@example.org>\nDelivered-To: ann@example.org\n"


def test_the_null_reverse_path_is_an_empty_return_path() -> None:
    assert delivery_fields(None, ANN, ANN).startswith(b"Return-Path: <>\n")


def test_the_original_recipient_is_told_when_it_differs() -> None:
    assert b"X-Original-To: sales@example.org\n" in delivery_fields(None, ANN, Address("sales", "example.org"))
    assert b"X-Original-To" not in delivery_fields(None, ANN, Address("Ann", "EXAMPLE.org"))


@pytest.mark.parametrize("line", [b"Subject: x", b"x:", b"Subject : x", b"X-!#$%: y", b"a\t:"])
def test_a_line_with_a_name_and_a_colon_begins_a_header(line: bytes) -> None:
    assert begins_with_field(line)


@pytest.mark.parametrize(
    "line", [b"", b":", b" Subject: x", b"hello", b"hello there: x", b"\xc3\xa9: x", b"\tx:", b"a\nb:"]
)
def test_any_other_line_does_not(line: bytes) -> None:
    assert not begins_with_field(line)


def test_a_text_gets_a_header_from_the_envelope_and_an_empty_line() -> None:
    assert header_for_text(BOB, [ANN, BOB], "mx.example.org", "0000id", MOMENT) == (
        b"From: bob@example.org\n"
        b"To: ann@example.org,\n\tbob@example.org\n"
        b"Date: Mon, 02 Nov 2026 12:00:00 +0000\n"
        b"Message-ID: <0000id@mx.example.org>\n"
        b"\n"
    )


def test_a_text_from_nobody_is_from_the_server() -> None:
    assert header_for_text(None, [ANN], "mx.example.org", "x", MOMENT).startswith(
        b"From: MAILER-DAEMON@mx.example.org\n"
    )
