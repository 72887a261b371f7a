"""The header fields a server puts ahead of a message: trace fields and, for a bare text, an envelope's worth.

All functions return LF-ended header lines as bytes, ready to be written to a Maildir file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

import attrs

from mailagent.envelope.address import Address

#: A header field's name and colon. White space before the colon is obsolete but legal (RFC 5322 section 4.5).
_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")
_DOMAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\Z")
_LITERAL = re.compile(r"\[[0-9A-Za-z:.-]+\]\Z")
#: A line longer than this has not shown itself to be a header field (RFC 5322 section 2.1.1 allows 998).
FIRST_LINE_LIMIT = 998


@attrs.frozen
class Client:
    """Who is at the other end of a session, as the C{Received} field will tell it.

    C{address} is the peer's IP address in canonical text form, or C{""} for a local socket; C{tls} a
    phrase such as C{"TLSv1.3 with cipher TLS_AES_256_GCM_SHA384"}, or C{""} without TLS; C{login} the name
    logged in with, or C{""}, which is not told; C{user_id} the number of the user of this machine at the other end of
    a local socket for submission, else C{None}.
    """

    address: str
    helo: str = ""
    protocol: str = "SMTP"
    tls: str = ""
    login: str = ""
    user_id: int | None = None


def _date(timestamp: float) -> str:
    return _second(int(timestamp))


@lru_cache(maxsize=1)  # a busy server writes the same one again and again
def _second(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


@lru_cache(maxsize=4096)
def address_literal(address: str) -> str:
    """An IP address in the brackets of RFC 5321 section 4.1.3, without a zone; C{"[unknown]"} for what is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "[unknown]"
    return f"[IPv6:{parsed}]" if parsed.version == 6 else f"[{parsed}]"


def received(client: Client, hostname: str, message_id: str, recipients: Sequence[Address], timestamp: float) -> bytes:
    """The C{Received} field (RFC 5321 section 4.4).

    The C{for} clause stands only with a single recipient: with more it would show one to the others.

    @param timestamp: seconds since the epoch.
    """
    literal = address_literal(client.address)
    named = _DOMAIN.match(client.helo) or _LITERAL.match(client.helo)
    source = f"{client.helo} ({literal})" if named else literal
    lines = [f"Received: from {source}"]
    if client.tls:
        lines.append(f"\t(using {client.tls})")
    lines.append(f"\tby {hostname} with {client.protocol} id {message_id}")
    return _trace_field(lines, recipients, timestamp)


def received_from_user(
    user: str, user_id: int, hostname: str, message_id: str, recipients: Sequence[Address], timestamp: float
) -> bytes:
    """The C{Received} field of what a user of this machine has sent, not by a network: it begins with C{by}.

    @param user: the user's name, which the machine knows; C{user_id}, the number.
    @param timestamp: seconds since the epoch.
    """
    name = re.sub(r"[^\w.@-]", "?", user, flags=re.ASCII)
    lines = [f"Received: by {hostname} (from user {name}, number {user_id}) id {message_id}"]
    return _trace_field(lines, recipients, timestamp)


def _trace_field(lines: list[str], recipients: Sequence[Address], timestamp: float) -> bytes:
    if len(recipients) == 1:
        lines.append(f"\tfor <{recipients[0]}>")
    lines[-1] += ";"
    lines.append(f"\t{_date(timestamp)}")
    return "".join(line + "\n" for line in lines).encode()


def delivery_fields(reverse_path: Address | None, delivered_to: Address, original_to: Address) -> bytes:
    """C{Return-Path}, C{Delivered-To} and, where the recipient was known by another address, C{X-Original-To}."""
    fields = f"Return-Path: <{reverse_path or ''}>\nDelivered-To: {delivered_to}\n"
    if str(original_to).lower() != str(delivered_to).lower():
        fields += f"X-Original-To: {original_to}\n"
    return fields.encode()


def begins_with_field(first_line: bytes) -> bool:
    """Whether a message's first line (or its first L{FIRST_LINE_LIMIT} octets) is a header field's."""
    return _FIELD.match(first_line) is not None


def header_for_text(
    reverse_path: Address | None,
    recipients: Sequence[Address],
    hostname: str,
    message_id: str,
    timestamp: float,
) -> bytes:
    """A header from the envelope, and the empty line after it, for a message that came without any.

    @param timestamp: seconds since the epoch.
    """
    author = reverse_path or Address("MAILER-DAEMON", hostname)
    to = ",\n\t".join(map(str, recipients))
    return (f"From: {author}\nTo: {to}\nDate: {_date(timestamp)}\nMessage-ID: <{message_id}@{hostname}>\n\n").encode()


def missing_fields(present: Collection[bytes], hostname: str, message_id: str, timestamp: float) -> bytes:
    """C{Date} and C{Message-ID}, as far as they are not there (RFC 6409 section 8).

    @param present: the names of the message's fields, in lower case.
    @param timestamp: seconds since the epoch.
    """
    fields = ""
    if b"date" not in present:
        fields += f"Date: {_date(timestamp)}\n"
    if b"message-id" not in present:
        fields += f"Message-ID: <{message_id}@{hostname}>\n"
    return fields.encode()
