"""Text inside parameters."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.smtp.parameters import decode_xtext, rcpt_parameters
from mailagent.smtp.xtext import decode_utf8_address, encode_original, encode_xtext

PRINTABLE = st.text(min_size=1, max_size=30).filter(str.isprintable)


@given(PRINTABLE)
def test_xtext_is_read_as_what_was_written(text: str) -> None:
    assert decode_xtext(encode_xtext(text)) == text


@given(st.text())
def test_what_is_written_can_stand_in_a_command(text: str) -> None:
    for written in (encode_xtext(text), encode_original("utf-8", text), encode_original("rfc822", text)):
        assert re.fullmatch(r"[!-<>-~]*", written)


@given(st.sampled_from(["rfc822", "utf-8"]), PRINTABLE)
def test_an_original_recipient_is_read_as_what_was_written(kind: str, address: str) -> None:
    assert rcpt_parameters({"ORCPT": encode_original(kind, address)}, {"DSN"}).original == (kind, address)


@given(st.text())
def test_reading_an_address_never_fails(text: str) -> None:
    decode_utf8_address(text)


@pytest.mark.parametrize(
    ("kind", "written"), [("rfc822", "rfc822;a+2Bb+20c@x"), ("utf-8", "utf-8;a\\x{2B}b\\x{20}c@x")]
)
def test_each_type_has_its_own_writing(kind: str, written: str) -> None:
    assert encode_original(kind, "a+b c@x") == written


@pytest.mark.parametrize("text", ["\\x{110000}", "\\x{D800}", "\\x{0A}", "\\x{zz}", "\\x41"])
def test_what_stands_for_no_printable_character_is_left(text: str) -> None:
    assert decode_utf8_address(text) == text
