"""An envelope in a file, there and back."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.smtp import batch
from mailagent.smtp.batch import BadEnvelope, read_envelope, write_envelope

ANN = Address("ann", "a.example")

_ADDRESS = st.builds(
    Address,
    st.text(
        st.characters(min_codepoint=32, exclude_categories=["C", "Z"]) | st.sampled_from(' "\\<>'),
        min_size=1,
        max_size=10,
    ),
    st.sampled_from(["a.example", "b.example", "bücher.example", "[192.0.2.1]"]),
)
_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
_CONDITIONS = st.just(frozenset({"NEVER"})) | st.sets(st.sampled_from(["SUCCESS", "FAILURE", "DELAY"]), min_size=1).map(
    frozenset
)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    recipients = draw(st.lists(_ADDRESS, min_size=1, max_size=4, unique=True))
    wishes = st.builds(Notify, _CONDITIONS, st.none() | st.tuples(st.just("rfc822"), _TEXT))
    return Envelope(
        draw(st.none() | _ADDRESS),
        tuple(recipients),
        eight_bit=draw(st.booleans()),
        utf8_header=draw(st.booleans()),
        returned=draw(st.sampled_from([None, "FULL", "HDRS"])),
        envelope_id=draw(st.none() | _TEXT),
        notify={each: draw(wishes) for each in recipients if draw(st.booleans())},
    )


@given(envelopes(), st.binary(max_size=20))
def test_what_was_written_is_read_and_the_content_follows(envelope: Envelope, content: bytes) -> None:
    file = BytesIO(write_envelope(envelope) + content)
    assert read_envelope(file) == envelope
    assert file.read() == content


def test_the_lines_are_those_of_a_session() -> None:
    envelope = Envelope(None, (ANN,), returned="HDRS", notify={ANN: Notify(frozenset({"DELAY", "FAILURE"}))})
    assert write_envelope(envelope) == b"MAIL FROM:<> RET=HDRS\nRCPT TO:<ann@a.example> NOTIFY=DELAY,FAILURE\n\n"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\n",
        b"MAIL FROM:<>\n\nhi",
        b"MAIL FROM:<>\nRCPT TO:<ann@a.example>\n",
        b"MAIL FROM:<>\nRCPT TO:<ann@a.example>",
        b"MAIL FROM:<>\nRCPT TO:<ann>\n\n",
        b"RCPT TO:<ann@a.example>\n\n",
        b"MAIL FROM:<>\nDATA\n\n",
        b"MAIL FROM:<> REQUIRETLS\nRCPT TO:<ann@a.example>\n\n",
        b"MAIL FROM:<>\nRCPT TO:<ann@a.example> NOTIFY=SOON\n\n",
        b"MAIL FROM:<" + b"x" * 5000 + b"@a.example>\nRCPT TO:<ann@a.example>\n\n",
        b"\0" * 10_000,
    ],
)
def test_what_is_no_whole_envelope_is_refused(octets: bytes) -> None:
    with pytest.raises(BadEnvelope):
        read_envelope(BytesIO(octets))


def test_recipients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_RECIPIENTS", 1)
    envelope = Envelope(None, (ANN, Address("bob", "a.example")))
    with pytest.raises(BadEnvelope, match="more than 1 recipients"):
        read_envelope(BytesIO(write_envelope(envelope)))


@given(st.binary(max_size=60))
def test_any_octets_are_an_envelope_or_refused(octets: bytes) -> None:
    with suppress(BadEnvelope):
        read_envelope(BytesIO(b"MAIL FROM:<" + octets))
