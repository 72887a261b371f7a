"""RFC 5321's grammar: what it takes, what it refuses and with which reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.reply import Reply
from mailagent.smtp.grammar import (
    SyntaxFault,
    parse_address,
    parse_auth,
    parse_bdat,
    parse_body,
    parse_command,
    parse_helo,
    parse_mail,
    parse_rcpt,
    parse_size,
    parse_vrfy,
)
from mailagent.smtp.verbs import Verb

ATEXT = "abcXYZ019!#$%&'*+/=?^_`{|}~-éß日"
QTEXT = ' ()<>[]:;@\\,."' + ATEXT
labels = st.text("abcXYZ019", min_size=1, max_size=10) | st.just("xn--bcher-kva") | st.just("a-b") | st.just("bücher")
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
literals = st.sampled_from(["[192.0.2.1]", "[IPv6:2001:db8::1]", "[IPv6:::ffff:1.2.3.4]", "[x-tag:what.ever]"])
dot_strings = st.lists(st.text(ATEXT, min_size=1, max_size=5), min_size=1, max_size=3).map(".".join)
locals_ = dot_strings | st.text(QTEXT, max_size=10)
addresses = st.builds(Address, locals_, domains | literals)


def fault_of(parse: Callable[[Any], object], given: object) -> Reply | None:
    """The reply of the syntax fault that parsing raises, if it does; no other exception is caught."""
    try:
        parse(given)
    except SyntaxFault as fault:
        return fault.reply
    return None


@given(addresses, st.sampled_from(["", "<@a.example:", "<@a,@b.c:"]))
def test_a_formatted_address_parses_to_itself_and_source_routes_are_dropped(address: Address, route: str) -> None:
    path = f"{route or '<'}{address}>"
    assert parse_mail(f"FROM:{path}".encode()) == (address, {})
    assert parse_rcpt(f"TO:{path}".encode()) == (address, {})
    assert parse_address(str(address)) == address


@given(st.binary(max_size=400))
def test_no_octets_raise_anything_but_the_syntax_fault(octets: bytes) -> None:
    for parse, prefix in [
        (parse_mail, b""),
        (parse_mail, b"FROM:<"),
        (parse_mail, b"FROM:<a@b> "),
        (parse_rcpt, b"TO:<"),
        (parse_helo, b""),
    ]:
        reply = fault_of(parse, prefix + octets)
        assert reply is None or (reply.code == 501 and reply.status in ("5.5.4", "5.1.7", "5.1.3"))
    assert parse_command(octets).argument in octets


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_the_syntax_fault(text: str) -> None:
    for parse in (parse_address, parse_size, parse_body):
        reply = fault_of(parse, text)
        assert reply is None or reply.code == 501


@pytest.mark.parametrize(
    "argument",
    [
        "FROM:<u@y..z>", "FROM:<.u@y>", "FROM:<u.@y>", "FROM:<u..v@y>", "FROM:<u@-y>", "FROM:<u@y->", "FROM:<u@>",
        "FROM:<@y>", "FROM:<u>", "FROM:<postmaster>", "FROM:<u@[1.2.3]>", "FROM:<u@[300.1.1.1]>",
        "FROM:<u@[IPv6:1::2::3]>", "FROM:<u@[IPv6:fe80::1%eth0]>", "FROM:<u@[:x]>",
        f"FROM:<{'l' * 65}@y>", f"FROM:<l@{'d' * 256}>", f"FROM:<{'l' * 60}@{'.'.join(['d' * 60] * 4)}>",
    ],
)  # fmt: skip
def test_a_bad_sender_address_is_501_5_1_7(argument: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse_mail(argument.encode())
    assert (caught.value.reply.code, caught.value.reply.status) == (501, "5.1.7")


@pytest.mark.parametrize("argument", ["TO:<>", "TO:<user>", "TO:<a@b@c>", "TO:<@a:>", "TO:<a@[]>"])
def test_a_bad_recipient_address_is_501_5_1_3(argument: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse_rcpt(argument.encode())
    assert (caught.value.reply.code, caught.value.reply.status) == (501, "5.1.3")


@pytest.mark.parametrize(
    "argument",
    [
        "", "<a@b>", "FROM", "FROM:", "FROM:a@b", "FROM:<a@b", "FROM:a@b>", "TO:<a@b>", "FROM:<a@b>X", "FROM:< a@b>",
        "FROM:<a@b> =1", "FROM:<a@b> A=", "FROM:<a@b> A=1 A=2", "FROM:<a@b> A==", "FROM:<a b@c>",
    ],
)  # fmt: skip
def test_a_malformed_argument_is_501_5_5_4(argument: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse_mail(argument.encode())
    assert (caught.value.reply.code, caught.value.reply.status) == (501, "5.5.4")


def test_the_null_reverse_path_is_none() -> None:
    assert parse_mail(b"FROM:<>") == (None, {})


def test_postmaster_may_stand_without_a_domain_in_any_case() -> None:
    assert parse_rcpt(b"TO:<PostMaster>") == (Address("PostMaster", ""), {})


def test_white_space_after_the_colon_is_tolerated() -> None:
    assert parse_mail(b"From: <a@b> SIZE=1") == (Address("a", "b"), {"SIZE": "1"})


def test_parameters_come_with_their_keywords_in_upper_case() -> None:
    assert parse_mail(b"FROM:<a@b>  size=12 Body=8BITMIME X") == (
        Address("a", "b"),
        {"SIZE": "12", "BODY": "8BITMIME", "X": None},
    )


def test_a_quoted_local_part_is_the_same_as_the_plain_one() -> None:
    assert parse_rcpt(b'TO:<"user\\1"@b>') == parse_rcpt(b"TO:<user1@b>")


def test_a_closing_bracket_inside_quotes_does_not_end_the_path() -> None:
    assert parse_rcpt(b'TO:<"a> b"@c>') == (Address("a> b", "c"), {})


@pytest.mark.parametrize("line", [b"noop", b"NOOP ", b"NoOp\t ", b"NOOP   x "])
def test_a_verb_is_known_in_any_case_and_white_space_at_the_end_does_not_count(line: bytes) -> None:
    command = parse_command(line)
    assert command.verb is Verb.NOOP
    assert command.argument in (b"", b"x")


@pytest.mark.parametrize("line", [b"", b"XYZZY", b" NOOP", b"N\xd6OP", b"\xff", b"NOOP\x00"])
def test_a_word_that_is_no_verb_is_none(line: bytes) -> None:
    assert parse_command(line).verb is None


@pytest.mark.parametrize(
    "name",
    ["client.example", "localhost", "[192.0.2.1]", "[IPv6:::1]", "[IPv6:fe80::1%en0]", "[pc]", "WIN_PC", "192.0.2.1"],
)
def test_helo_takes_domains_literals_and_what_windows_calls_a_host(name: str) -> None:
    assert parse_helo(name.encode()) == name


@pytest.mark.parametrize("name", ["", "a b", "a..b", "-a", "bücher.example", "a(b)", "x" * 256, "[", "a\x00"])
def test_helo_refuses_what_is_no_name(name: str) -> None:
    with pytest.raises(SyntaxFault):
        parse_helo(name.encode())


def test_size_and_body_take_only_their_values() -> None:
    assert parse_size("12345678901234567890") == 12345678901234567890
    assert parse_body("8bitmime") == "8BITMIME"
    for value in (None, "", "-1", "1k", "²", "1" * 21):
        with pytest.raises(SyntaxFault):
            parse_size(value)
    for value in (None, "", "BINARYMIME"):
        with pytest.raises(SyntaxFault):
            parse_body(value)


@pytest.mark.parametrize(
    ("argument", "mechanism", "initial"),
    [
        (b"plain", "PLAIN", None),
        (b"PLAIN =", "PLAIN", b""),
        (b"SCRAM-SHA-256  YQ==", "SCRAM-SHA-256", b"YQ=="),
    ],
)
def test_auth_has_a_mechanism_and_perhaps_a_response(argument: bytes, mechanism: str, initial: bytes | None) -> None:
    assert parse_auth(argument) == (mechanism, initial)


@given(st.binary(max_size=60))
def test_any_octets_are_an_auth_argument_or_a_syntax_fault(argument: bytes) -> None:
    reply = fault_of(parse_auth, argument)
    assert reply is None or (reply.code, reply.status) == (501, "5.5.4")
    assert reply is not None or parse_auth(argument)[0].isascii()


@given(st.binary(max_size=30))
def test_bdat_and_vrfy_raise_nothing_but_the_syntax_fault(octets: bytes) -> None:
    for parse in (parse_bdat, parse_vrfy):
        assert (fault := fault_of(parse, octets)) is None or fault.status == "5.5.4"


def test_bdat_takes_a_number_and_last() -> None:
    assert parse_bdat(b"0") == (0, False)
    assert parse_bdat(b"12 last") == (12, True)
