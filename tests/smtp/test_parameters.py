"""Parameters of MAIL and RCPT: what is taken, refused, and kept for a delivery."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.mail import smtp

from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.parameters import (
    MailParameters,
    RcptParameters,
    decode_xtext,
    mail_parameters,
    rcpt_parameters,
)
from mailagent.smtp.session import Session
from tests.memory_server import Connection, codes
from tests.smtp.deliveries import PlainDelivery

DSN = {"DSN", "REQUIRETLS", "SMTPUTF8", "SIZE", "8BITMIME"}


@given(
    st.dictionaries(
        st.sampled_from(["SIZE", "BODY", "RET", "ENVID", "NOTIFY", "ORCPT", "SMTPUTF8", "REQUIRETLS", "X"]),
        st.none() | st.text(max_size=30) | st.sampled_from(["+", "+GG", "rfc822;+FF", "NEVER,DELAY", "+0A", "a;b"]),
    )
)
def test_no_values_raise_anything_but_the_syntax_fault(parameters: dict[str, str | None]) -> None:
    for parse in (mail_parameters, rcpt_parameters):
        with suppress(SyntaxFault):
            parse(parameters, DSN)


@given(st.text(min_size=1).filter(str.isprintable))
def test_xtext_decodes_to_what_was_encoded(text: str) -> None:
    encoded = "".join(chr(o) if 33 <= o <= 126 and o not in b"+=" else f"+{o:02X}" for o in text.encode())
    assert decode_xtext(encoded) == text


def test_what_is_given_is_kept() -> None:
    assert mail_parameters({"RET": "hdrs", "ENVID": "a+2Bb", "REQUIRETLS": None, "SIZE": "5"}, DSN) == MailParameters(
        size=5, returned="HDRS", envelope_id="a+b", require_tls=True
    )
    assert rcpt_parameters({"NOTIFY": "success,DELAY", "ORCPT": "RFC822;a+2Bb@c"}, DSN) == RcptParameters(
        notify=frozenset({"SUCCESS", "DELAY"}), original=("rfc822", "a+b@c")
    )


@pytest.mark.parametrize(
    "given_",
    [
        {"RET": "SOME"}, {"RET": None}, {"ENVID": None}, {"ENVID": "x" * 101}, {"ENVID": "+0A"}, {"ENVID": "a+b"},
        {"REQUIRETLS": "1"}, {"SMTPUTF8": "1"},
    ],
)  # fmt: skip
def test_a_bad_value_of_mail_is_501(given_: dict[str, str | None]) -> None:
    with pytest.raises(SyntaxFault) as caught:
        mail_parameters(given_, DSN)
    assert caught.value.reply.code == 501


@pytest.mark.parametrize(
    "given_",
    [
        {"NOTIFY": None}, {"NOTIFY": "NEVER,SUCCESS"}, {"NOTIFY": "DELAY,DELAY"}, {"NOTIFY": "OFTEN"}, {"NOTIFY": ""},
        {"ORCPT": None}, {"ORCPT": "a@b"}, {"ORCPT": ";a@b"}, {"ORCPT": "rfc822;"}, {"ORCPT": "rfc822;" + "x" * 500},
    ],
)  # fmt: skip
def test_a_bad_value_of_rcpt_is_501(given_: dict[str, str | None]) -> None:
    with pytest.raises(SyntaxFault) as caught:
        rcpt_parameters(given_, DSN)
    assert caught.value.reply.code == 501


def test_who_offers_dsn_finds_its_parameters_with_the_paths() -> None:
    class WithDSN(Session):
        def extensions(self) -> dict[bytes, list[bytes] | None]:
            return super().extensions() | {b"DSN": None}

    kept: list[Any] = []

    class Delivery(PlainDelivery):
        def validateFrom(self, helo: tuple[bytes | None, bytes], origin: smtp.Address) -> Any:
            kept.append(vars(origin)["parameters"])
            return super().validateFrom(helo, origin)

        def validateTo(self, user: smtp.User) -> Any:
            kept.append(vars(user.dest)["parameters"])
            return super().validateTo(user)

    session = WithDSN()
    session.delivery = Delivery()
    connection = Connection(session, StringTransport())
    session.makeConnection(connection.transport)
    connection.greet()
    got = connection.send(b"MAIL FROM:<a@b> RET=FULL\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\n")
    connection.lose()
    assert codes(got) == ["250 2.1.0", "250 2.1.5"]
    assert kept == [MailParameters(returned="FULL"), RcptParameters(notify=frozenset({"NEVER"}))]
