"""Addresses as people write them: C{Ann Example <ann@example.org>; bob@example.org, …}."""

from __future__ import annotations

import re

import attrs

from mailagent.envelope.address import Address
from mailagent.smtp.grammar import SyntaxFault, parse_address

# A semicolon or comma separates, but not inside a quoted string. A quote that is never closed is an ordinary character.
_ENTRY = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^;,])+')
_NAMED = re.compile(r"(?P<name>\"(?:\\.|[^\"\\])*\"|[^<>]*?)\s*<\s*(?P<address>[^<>]+?)\s*>\Z")


class BadAddress(ValueError):
    """What was written is not a mail address that this client can send to; the text names it."""


@attrs.frozen
class Correspondent:
    """Somebody mail comes from or goes to: an address, and a display C{name} or C{""}."""

    address: Address
    name: str = ""

    def __str__(self) -> str:
        """As a person would write it."""
        return f"{self.name} <{self.address}>" if self.name else str(self.address)


def parse_correspondents(text: str) -> tuple[Correspondent, ...]:
    """All of a list separated by semicolons or commas; empty places in it do not count.

    @raise BadAddress: names the first entry that is none.
    """
    return tuple(parse_correspondent(entry) for entry in _ENTRY.findall(text) if entry.strip())


def parse_correspondent(text: str) -> Correspondent:
    """One address, alone or in angle brackets after a name.

    @raise BadAddress: C{text} is no address.
    """
    named = _NAMED.match(text.strip())
    name, written = (_unquoted(named["name"]), named["address"]) if named else ("", text.strip())
    try:
        address = parse_address(written)
        address = attrs.evolve(address, domain=address.domain if address.domain.isascii() else address.host)
    except (SyntaxFault, ValueError):
        raise BadAddress(f"{text.strip()!r} is not a mail address") from None
    if not address.local.isprintable():
        raise BadAddress(f"{text.strip()!r} is not a mail address")
    return Correspondent(address, name)


def _unquoted(name: str) -> str:
    """A display name without its quotes, on one line."""
    name = " ".join(name.split())
    if len(name) > 1 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name
