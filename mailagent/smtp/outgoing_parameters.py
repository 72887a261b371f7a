"""MAIL and RCPT as a client says them to one server: paths, and the parameters of what that server offers.

Pure functions. Nothing in an address can end a path, or the line, early. What the server cannot take is known before
anything is said; nothing is converted to fit (see C{docs/decisions/no-conversion.md}).
"""

from __future__ import annotations

import re
from typing import NoReturn

import attrs

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.reply import Reply
from mailagent.smtp.extensions import Extensions
from mailagent.smtp.sending_failed import TransactionRefused
from mailagent.smtp.xtext import MAX_ENVELOPE_ID, MAX_ORIGINAL, encode_original, encode_xtext

#: What becomes of an address that cannot be said to this server (RFC 6531 section 3.5).
NEEDS_UTF8 = Reply(553, "5.6.7", "The server takes only addresses in ASCII")

_WIRE_ADDRESS = re.compile(r".+@[!-;=?-~]+\Z")
_CONDITIONS = ("NEVER", "SUCCESS", "FAILURE", "DELAY")


def mail_line(envelope: Envelope, extensions: Extensions, verified: bool) -> str:
    """The MAIL command.

    @param verified: whether TLS is in use, with a server that has proven to be the one that was meant.
    @raise TransactionRefused: the server cannot take such a message, or such a sender.
    """
    path: str | None = ""
    if envelope.reverse_path is not None:
        path = _path(envelope.reverse_path, extensions)
        if path is None:
            reason = f"{envelope.reverse_path} cannot be sent from: {NEEDS_UTF8.text}"
            raise TransactionRefused(reason, NEEDS_UTF8)
    parameters = (
        _size(envelope, extensions)
        + _body(envelope, extensions)
        + _utf8(envelope, extensions)
        + _require_tls(envelope, extensions, verified)
        + _report(envelope, extensions)
    )
    return f"MAIL FROM:<{path}>{parameters}"


def rcpt_line(recipient: Address, notify: Notify, extensions: Extensions) -> str | None:
    """The RCPT command, with what the sender wants to hear (RFC 3461) if the server offers DSN; C{None} if the address
    cannot be said to this server."""
    path = _path(recipient, extensions)
    if path is None:
        return None
    parameters = ""
    if "DSN" in extensions:
        conditions = [condition for condition in _CONDITIONS if condition in notify.conditions]
        if conditions:
            parameters += f" NOTIFY={','.join(conditions)}"
        original = encode_original(*notify.original) if notify.original else ""
        if 0 < len(original) <= MAX_ORIGINAL:
            parameters += f" ORCPT={original}"
    return f"RCPT TO:<{path}>{parameters}"


def _path(address: Address, extensions: Extensions) -> str | None:
    """The address as it goes into a path, its domain in A-labels; C{None} if it cannot."""
    try:
        path = str(attrs.evolve(address, domain=address.domain if address.domain.isascii() else address.host))
    except ValueError:
        return None
    found = _WIRE_ADDRESS.match(path)
    sendable = path.isprintable() and (path.isascii() or "SMTPUTF8" in extensions)
    return path if sendable and (found or path.lower() == "postmaster") else None


def _refuse(code: int, status: str, reason: str) -> NoReturn:
    raise TransactionRefused(reason, Reply(code, status, reason))


def _size(envelope: Envelope, extensions: Extensions) -> str:
    """RFC 1870."""
    if envelope.size is None or "SIZE" not in extensions:
        return ""
    limit = extensions["SIZE"]
    if limit.isdecimal() and 0 < int(limit) < envelope.size:
        _refuse(552, "5.3.4", f"the message has {envelope.size} octets, the server takes {limit}")
    return f" SIZE={envelope.size}"


def _body(envelope: Envelope, extensions: Extensions) -> str:
    """RFC 6152."""
    if not envelope.eight_bit:
        return ""
    if "8BITMIME" not in extensions:
        _refuse(554, "5.6.3", "the message has 8-bit content, which the server does not take")
    return " BODY=8BITMIME"


def _utf8(envelope: Envelope, extensions: Extensions) -> str:
    """RFC 6531: asked for only where something cannot be said in ASCII; domains can, in A-labels."""
    addresses = (*filter(None, [envelope.reverse_path]), *envelope.recipients)
    if not envelope.utf8_header and all(address.local.isascii() for address in addresses):
        return ""
    if "SMTPUTF8" in extensions:
        return " SMTPUTF8"
    if envelope.utf8_header:
        _refuse(554, "5.6.9", "the header has addresses beyond ASCII, which the server does not take")
    return ""  # the recipients that need it are refused one by one


def _require_tls(envelope: Envelope, extensions: Extensions, verified: bool) -> str:
    """RFC 8689 sections 4.2 and 5."""
    if envelope.require_tls and verified and "REQUIRETLS" in extensions:
        return " REQUIRETLS"
    if not envelope.insists_on_tls:
        return ""
    if not verified:
        _refuse(550, "5.7.30", "the sender requires verified TLS, and there is none with this server")
    _refuse(550, "5.7.30", "the sender requires TLS all the way, which the server does not promise")


def _report(envelope: Envelope, extensions: Extensions) -> str:
    """RFC 3461 sections 4.3 and 4.4."""
    if "DSN" not in extensions:
        return ""
    returned = f" RET={envelope.returned}" if envelope.returned in ("FULL", "HDRS") else ""
    envelope_id = encode_xtext(envelope.envelope_id or "")
    return returned + (f" ENVID={envelope_id}" if 0 < len(envelope_id) <= MAX_ENVELOPE_ID else "")
