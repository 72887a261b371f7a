"""What EHLO's reply says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.reply import Reply
from mailagent.smtp.extensions import Limits, read_extensions


def test_keywords_are_read_in_any_case_with_their_parameters() -> None:
    reply = Reply(250, "", "mx.example\nsize 1000\n8BitMIME\n\nAuth PLAIN LOGIN")
    assert read_extensions(reply) == {"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN LOGIN"}


@given(st.text())
def test_no_reply_makes_it_fail(text: str) -> None:
    Limits.of(read_extensions(Reply(250, "", text)))


@pytest.mark.parametrize(
    ("offer", "limits"),
    [
        ("MAILMAX=5 RCPTMAX=20 RCPTDOMAINMAX=1", Limits(5, 20, 1)),
        ("rcptmax=20 OTHER=1", Limits(None, 20, None)),
        ("MAILMAX=0 RCPTMAX=x RCPTDOMAINMAX=-1 RCPTMAX", Limits()),
        ("MAILMAX=9999999", Limits()),
        ("", Limits()),
    ],
)
def test_limits_are_read_and_what_makes_no_sense_limits_nothing(offer: str, limits: Limits) -> None:
    assert Limits.of({"LIMITS": offer}) == limits
    assert Limits.of({}) == Limits()
