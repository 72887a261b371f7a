"""What MAIL and RCPT carry besides their paths: the parameters of the extensions that EHLO offers.

Pure functions. A parameter whose extension is not offered is C{555 5.5.4}; one whose value is wrong, C{501 5.5.4}
(RFC 5321 section 4.1.1.11). The grammar of DSN and REQUIRETLS stands here too; whoever offers them gets their values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NoReturn

import attrs

from mailagent.envelope.reply import Reply
from mailagent.smtp import replies
from mailagent.smtp.grammar import SyntaxFault, parse_body, parse_size
from mailagent.smtp.xtext import MAX_ENVELOPE_ID, MAX_ORIGINAL, UTF_8, decode_utf8_address

Given = Mapping[str, str | None]

#: The extension that defines each parameter.
_MAIL = {
    "SIZE": "SIZE",
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "REQUIRETLS": "REQUIRETLS",
    "AUTH": "AUTH",
}
_RCPT = {"NOTIFY": "DSN", "ORCPT": "DSN"}
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")
_ORIGINAL = re.compile(r"(?P<kind>[A-Za-z0-9][A-Za-z0-9-]*);(?P<address>.+)\Z")
_CONDITIONS = frozenset({"SUCCESS", "FAILURE", "DELAY"})


@attrs.frozen
class MailParameters:
    """Parameters of MAIL.

    C{size} is what the client says of the message, in octets (RFC 1870); C{eight_bit}, whether it may hold octets
    above 127 (RFC 6152); C{utf8}, whether addresses and header may (RFC 6531). C{returned} is C{"FULL"} or C{"HDRS"}
    and C{envelope_id} decoded text (RFC 3461), C{None} where not given; C{require_tls} is RFC 8689's.
    """

    size: int | None = None
    eight_bit: bool = False
    utf8: bool = False
    returned: str | None = None
    envelope_id: str | None = None
    require_tls: bool = False


@attrs.frozen
class RcptParameters:
    """Parameters of RCPT (RFC 3461): C{notify}, of C{NEVER}, C{SUCCESS}, C{FAILURE} and C{DELAY}, empty where not
    given; C{original}, the recipient's address type and address, decoded, as first given."""

    notify: frozenset[str] = frozenset()
    original: tuple[str, str] | None = None


#: Most mail comes with none.
_NO_MAIL_PARAMETERS = MailParameters()
_NO_RCPT_PARAMETERS = RcptParameters()


def mail_parameters(given: Given, offered: Collection[str]) -> MailParameters:
    """The parameters of a MAIL command.

    @param offered: extensions, as EHLO lists them.
    @raise SyntaxFault: C{555 5.5.4} or C{501 5.5.4}.
    """
    if not given:
        return _NO_MAIL_PARAMETERS
    _check_known(given, _MAIL, offered)
    for keyword in ("SMTPUTF8", "REQUIRETLS"):
        if given.get(keyword) is not None:
            _fault(f"{keyword} takes no value")
    if "AUTH" in given and given["AUTH"] != "<>" and not _XTEXT.match(given["AUTH"] or ""):
        _fault("AUTH takes an address in xtext, or <>")  # RFC 4954 section 5; we do not act on it
    return MailParameters(
        size=parse_size(given["SIZE"]) if "SIZE" in given else None,
        eight_bit="BODY" in given and parse_body(given["BODY"]) == "8BITMIME",
        utf8="SMTPUTF8" in given,
        returned=_returned(given["RET"]) if "RET" in given else None,
        envelope_id=_envelope_id(given["ENVID"]) if "ENVID" in given else None,
        require_tls="REQUIRETLS" in given,
    )


def rcpt_parameters(given: Given, offered: Collection[str]) -> RcptParameters:
    """The parameters of an RCPT command.

    @param offered: extensions, as EHLO lists them.
    @raise SyntaxFault: C{555 5.5.4} or C{501 5.5.4}.
    """
    if not given:
        return _NO_RCPT_PARAMETERS
    _check_known(given, _RCPT, offered)
    return RcptParameters(
        notify=_notify(given["NOTIFY"]) if "NOTIFY" in given else frozenset(),
        original=_original(given["ORCPT"]) if "ORCPT" in given else None,
    )


def decode_xtext(text: str) -> str:
    """Xtext decoded (RFC 3461 section 4): C{+XX} is the octet of that hexadecimal number, octets are UTF-8.

    @raise ValueError: it is none, or holds what is not printable.
    """
    if not _XTEXT.match(text):
        raise ValueError("not xtext")
    octets = re.sub(rb"\+([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode("ascii"))
    decoded = octets.decode("utf-8")
    if not decoded.isprintable():
        raise ValueError("unprintable")
    return decoded


def _check_known(given: Given, known: Mapping[str, str], offered: Collection[str]) -> None:
    for keyword in given:
        if known.get(keyword) not in offered:
            raise SyntaxFault(replies.unknown_parameter(keyword))


def _fault(text: str) -> NoReturn:
    raise SyntaxFault(Reply(501, "5.5.4", text))


def _returned(value: str | None) -> str:
    if value is None or value.upper() not in ("FULL", "HDRS"):
        _fault("RET takes FULL or HDRS")
    return value.upper()


def _envelope_id(value: str | None) -> str:
    if value is None or len(value) > MAX_ENVELOPE_ID:
        _fault("ENVID takes xtext of at most 100 characters")
    try:
        return decode_xtext(value)
    except ValueError:
        _fault("ENVID takes xtext of at most 100 characters")


def _notify(value: str | None) -> frozenset[str]:
    conditions = (value or "").upper().split(",")
    if conditions != ["NEVER"] and (len(set(conditions)) < len(conditions) or not _CONDITIONS.issuperset(conditions)):
        _fault("NOTIFY takes NEVER, or some of SUCCESS, FAILURE and DELAY")
    return frozenset(conditions)


def _original(value: str | None) -> tuple[str, str]:
    found = _ORIGINAL.match(value or "")
    if found is None or len(value or "") > MAX_ORIGINAL:
        _fault("ORCPT takes an address type, a semicolon and xtext")
    try:
        kind, address = found["kind"].lower(), decode_xtext(found["address"])
    except ValueError:
        _fault("ORCPT takes an address type, a semicolon and xtext")
    return kind, decode_utf8_address(address) if kind == UTF_8 else address
