"""A message's header as C{sendmail} reads it and changes it: recipients found, C{Bcc} removed. Pure values."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formataddr

import attrs

from mailagent.envelope.address import Address
from mailagent.envelope.trace import begins_with_field
from mailagent.sendmail.recipients import addresses

_TO = (b"to", b"cc", b"bcc")
_RESENT_TO = tuple(b"resent-" + name for name in _TO)
_HIDDEN = (b"bcc", b"resent-bcc")


@attrs.frozen
class Header:
    """A header's C{fields}, each with its lines, LF-ended; none where the message is a bare text."""

    fields: tuple[bytes, ...] = ()

    def recipients(self, domain: str) -> list[Address]:
        """Whom the header names as recipients, each once. Where the message was sent again by somebody (C{Resent-}
        fields, RFC 5322 section 3.6.6), those of then.

        @param domain: that of bare names.
        @raise mailagent.sendmail.recipients.NotAnAddress: one cannot be read.
        """
        resent = any(_name(field) in _RESENT_TO for field in self.fields)
        wanted = _RESENT_TO if resent else _TO
        values = [_value(field) for field in self.fields if _name(field) in wanted]
        return list(dict.fromkeys(each for value in values for each in addresses(value, domain)))

    def without_bcc(self) -> Header:
        """The header as recipients may see it."""
        return Header(tuple(field for field in self.fields if _name(field) not in _HIDDEN))

    def with_author(self, author: Address, full_name: str) -> Header:
        """The same with a C{From}, if there was none."""
        if any(_name(field) == b"from" for field in self.fields):
            return self
        name = "".join(letter for letter in full_name if letter.isprintable())
        text = formataddr((name, str(author))) if name and str(author).isascii() else str(author)
        return Header((f"From: {text}\n".encode(), *self.fields))

    def __bytes__(self) -> bytes:
        return b"".join(self.fields)


def is_field(line: bytes, *, first: bool) -> bool:
    """Whether a line belongs to a header: a field, or, unless it is the C{first} line, a field's continuation."""
    return begins_with_field(line) or (not first and line[:1] in (b" ", b"\t"))


def header_of(lines: list[bytes]) -> Header:
    """The header that consists of these lines, for each of which L{is_field} holds."""
    return Header(tuple(_unfolded(lines)))


def _unfolded(lines: list[bytes]) -> Iterator[bytes]:
    field = b""
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            field += line
        else:
            if field:
                yield field
            field = line
    if field:
        yield field


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].rstrip().lower()


def _value(field: bytes) -> str:
    return field.partition(b":")[2].decode("utf-8", "replace")
