"""Reading a kept draft again (or any other message file), to send it after all."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from pathlib import Path

import attrs

from mailagent.compose.attachment import Attachment
from mailagent.compose.correspondent import BadAddress, Correspondent, parse_correspondents
from mailagent.compose.draft import ACCEPTED

#: Octets; what is larger was not made here.
MAX_DRAFT = 256 * 1024 * 1024


class BadDraft(ValueError):
    """The file is no message that could be sent; the text says why."""


@attrs.frozen
class Kept:
    """What a kept draft says; fields as those of a L{mailagent.compose.draft.Draft}."""

    sender: Correspondent | None
    to: tuple[Correspondent, ...]
    cc: tuple[Correspondent, ...]
    bcc: tuple[Correspondent, ...]
    accepted: tuple[Correspondent, ...]
    subject: str | None
    body: str
    attachments: tuple[Attachment, ...]


def read_draft(path: Path) -> Kept:
    """What the file says.

    @raise OSError: it cannot be read.
    @raise BadDraft: it is none.
    """
    with open(path, "rb") as file:
        octets = file.read(MAX_DRAFT + 1)
    if len(octets) > MAX_DRAFT:
        raise BadDraft(f"it has more than {MAX_DRAFT} octets")
    return parse_draft(octets)


def parse_draft(octets: bytes) -> Kept:
    """What a message says.

    @raise BadDraft: it is none.
    """
    try:
        return _kept(message_from_bytes(octets, policy=policy.default))
    except BadDraft:
        raise
    except BadAddress as error:
        raise BadDraft(str(error)) from None
    except Exception as error:  # the library has many, for messages that are broken in as many ways
        raise BadDraft(f"it is no message that can be read ({type(error).__name__})") from error


def _kept(message: EmailMessage) -> Kept:
    fields: dict[str, str] = {}
    for field, value in message.raw_items():
        fields.setdefault(field.lower(), _utf_8(str(value)))
    body = message.get_body(("plain",))
    if "from" not in fields or body is None:
        raise BadDraft("it has no From field" if body is not None else "it has no plain text")
    to, cc, bcc, accepted, sender = (
        tuple(map(_decoded, parse_correspondents(fields.get(field, ""))))
        for field in ("to", "cc", "bcc", ACCEPTED.lower(), "from")
    )
    return Kept(
        sender=sender[0] if sender else None,
        to=to,
        cc=cc,
        bcc=bcc,
        accepted=accepted,
        subject=_text(fields["subject"]) if "subject" in fields else None,
        body=str(body.get_content()).replace("\r\n", "\n"),
        attachments=tuple(map(_attachment, message.iter_attachments())) if message.is_multipart() else (),
    )


def _attachment(part: EmailMessage) -> Attachment:
    octets = part.get_payload(decode=True)
    if not isinstance(octets, bytes):
        raise BadDraft("an attachment is a message with parts, which is not supported")
    return Attachment(part.get_filename("attachment"), part.get_content_type(), octets)


def _decoded(who: Correspondent) -> Correspondent:
    return attrs.evolve(who, name=_text(who.name)) if who.name.startswith("=?") else who


def _text(value: str) -> str:
    return str(make_header(decode_header(" ".join(value.split()))))


def _utf_8(value: str) -> str:
    """A field as it was written: C{email} reads what is beyond ASCII as surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
