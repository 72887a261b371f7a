"""What was sent and what was found: the form in which a test compares the two."""

from __future__ import annotations

import email
import re
from email.message import Message
from pathlib import Path

_TRACE = re.compile(
    rb"Return-Path: <(?P<sender>[^\n]*)>\n"
    rb"Delivered-To: [^\n]+\n"
    rb"(?:X-Original-To: [^\n]+\n)?"
    rb"Received: [^\n]+\n(?:[ \t][^\n]+\n)*"
)
_RECEIVED = re.compile(rb"Received: [^\n]+\n(?:[ \t][^\n]+\n)*")
_ENVELOPE = re.compile(rb"From: [^\n]+\nTo: [^\n]+\n(?:\t[^\n]+\n)*Date: [^\n]+\nMessage-ID: <[^\n]+>\n\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")

#: Everything that clients and servers have been known to trip over in one message: dots, blanks, long lines, 8 bit.
NASTY = b"".join(
    line + b"\n"
    for line in [
        b"From: Ann <ann@example.org>",
        b"To: user1@hostmeister.de",
        b"Date: Mon, 23 Nov 2026 12:00:00 +0100",
        b"Message-ID: <all-that-hurts@example.org>",
        b"Subject: all that hurts",
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
        b"",
        b".",
        b"..",
        b".a line with a dot",
        b". ",
        b"",
        b"From here on, trailing blanks \t ",
        b"QUIT",
        "Grüße, ¡señor!".encode(),
        b"x" * 990,
        b"",
        b"",
        b"..",
        b"the end",
    ]
)


def lines_lf(content: bytes) -> bytes:
    """C{content} with every line end LF, the last line's included."""
    content = re.sub(rb"\r\n|\r|\n", b"\n", content)
    return content if content.endswith(b"\n") else content + b"\n"


def lines_crlf(content: bytes) -> bytes:
    """C{content} as it may be sent: every line end CRLF."""
    return lines_lf(content).replace(b"\n", b"\r\n")


def new(mailbox: Path) -> list[bytes]:
    """The messages in a Maildir's C{new}, each as it lies there."""
    return [path.read_bytes() for path in sorted((mailbox / "new").iterdir())]


def sender(message: bytes) -> str:
    """The reverse-path of a delivered message."""
    found = _TRACE.match(message)
    assert found, message[:500]
    return found["sender"].decode()


def as_sent(message: bytes) -> bytes:
    """A delivered message without our trace fields, which must be there."""
    found = _TRACE.match(message)
    assert found, message[:500]
    return message[found.end() :]


def as_received(message: bytes) -> bytes:
    """A message without its uppermost trace field, that of the last server, which must be there."""
    found = _RECEIVED.match(message)
    assert found, message[:500]
    return message[found.end() :]


def content(message: bytes, sent: bytes) -> bytes:
    """A delivered message's content, without our trace fields and, if C{sent} began with no header field,
    without the header made from the envelope."""
    rest = as_sent(message)
    if _FIELD.match(sent):
        return rest
    made = _ENVELOPE.match(rest)
    assert made, rest[:500]
    return rest[made.end() :]


def reported(message: bytes) -> dict[str, str]:
    """What a report (RFC 3464) says of its only recipient."""
    report = email.message_from_bytes(message)
    assert report["Return-Path"] == "<>"
    assert (report.get_content_type(), report.get_param("report-type")) == ("multipart/report", "delivery-status")
    parts: list[Message] = report.get_payload()  # type: ignore[assignment]
    _, status, returned = parts
    assert status.get_content_type() == "message/delivery-status"
    assert returned.get_content_type() in ("text/rfc822-headers", "message/rfc822")
    fields: list[Message] = status.get_payload()  # type: ignore[assignment]
    _, recipient = fields
    return dict(recipient.items())
