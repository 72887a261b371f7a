"""MAIL and RCPT as they are said to one server. What goes over the wire is in L{tests.smtp.test_outgoing} too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import UNASKED, Notify
from mailagent.smtp.outgoing_parameters import mail_line, rcpt_line
from mailagent.smtp.parameters import mail_parameters, rcpt_parameters
from mailagent.smtp.sending_failed import TransactionRefused

ANN, EVE = Address("ann", "example.org"), Address("eve", "example.com")
ALL = dict.fromkeys(["SIZE", "8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS"], "")
TEXT = st.text(max_size=40)


def given_parameters(line: str) -> dict[str, str | None]:
    words = [word.partition("=") for word in line.partition(">")[2].split()]
    return {keyword: value if equals else None for keyword, equals, value in words}


@given(st.builds(Address, TEXT, TEXT), st.builds(Notify, original=st.none() | st.tuples(st.just("utf-8"), TEXT)))
def test_whatever_the_recipient_its_command_is_one_line(recipient: Address, notify: Notify) -> None:
    line = rcpt_line(recipient, notify, ALL)
    assert line is None or line.isprintable()


@given(
    returned=st.none() | st.sampled_from(["FULL", "HDRS"]),
    envelope_id=st.none() | st.text(min_size=1, max_size=8).filter(str.isprintable),
    size=st.none() | st.integers(0, 10**12),
    eight_bit=st.booleans(),
    require_tls=st.booleans(),
)
def test_a_server_reads_of_mail_what_was_meant(
    returned: str | None, envelope_id: str | None, size: int | None, eight_bit: bool, require_tls: bool
) -> None:
    envelope = Envelope(EVE, (ANN,), size, eight_bit, False, returned, envelope_id, require_tls)
    read = mail_parameters(given_parameters(mail_line(envelope, ALL, verified=True)), ALL)
    assert (read.size, read.eight_bit, read.require_tls) == (size, eight_bit, require_tls)
    assert (read.returned, read.envelope_id) == (returned, envelope_id)


@given(st.sets(st.sampled_from(["SUCCESS", "FAILURE", "DELAY"])) | st.just({"NEVER"}))
def test_a_server_reads_of_rcpt_what_was_meant(conditions: set[str]) -> None:
    line = rcpt_line(ANN, Notify(frozenset(conditions), ("rfc822", "a+b@c")), ALL)
    read = rcpt_parameters(given_parameters(line or ""), ALL)
    assert (read.notify, read.original) == (frozenset(conditions), ("rfc822", "a+b@c"))


def test_what_nobody_asked_for_is_not_said() -> None:
    assert rcpt_line(ANN, UNASKED, ALL) == "RCPT TO:<ann@example.org>"
    assert mail_line(Envelope(None, (ANN,)), ALL, verified=False) == "MAIL FROM:<>"


def test_what_is_too_long_for_a_parameter_is_left_out() -> None:
    assert rcpt_line(ANN, Notify(original=("rfc822", "x" * 500)), ALL) == "RCPT TO:<ann@example.org>"
    assert mail_line(Envelope(None, (ANN,), envelope_id="x" * 101), ALL, verified=False) == "MAIL FROM:<>"


@pytest.mark.parametrize(
    ("envelope", "status"),
    [
        (Envelope(EVE, (ANN,), size=11), "5.3.4"),
        (Envelope(EVE, (ANN,), eight_bit=True), "5.6.3"),
        (Envelope(EVE, (ANN,), utf8_header=True), "5.6.9"),
        (Envelope(Address("j\xf6rg", "x.example"), (ANN,)), "5.6.7"),
        (Envelope(EVE, (ANN,), require_tls=True), "5.7.30"),
    ],
)
def test_what_the_server_cannot_take_is_refused_for_good(envelope: Envelope, status: str) -> None:
    with pytest.raises(TransactionRefused) as caught:
        mail_line(envelope, {"SIZE": "10"}, verified=True)
    assert caught.value.verdict.status == status
    assert caught.value.verdict.permanent
