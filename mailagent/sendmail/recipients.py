"""Addresses as programs write them: one by one, or in a field of a header (RFC 5322 section 3.4). Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailagent.envelope.address import Address
from mailagent.smtp.grammar import SyntaxFault, parse_address

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(
    rf"(?P<blank>\s+)|(?P<quoted>{_QUOTED})|(?P<angle><(?:[^<>\"]|{_QUOTED})*>)|(?P<literal>\[[^\]]*\])"
    r"|(?P<comment>\()|(?P<end>[,;])|(?P<group>:)|(?P<word>[^\s\"<>\[\](),;:]+)",
    re.DOTALL,
)
_COMMENT_PART = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)


class NotAnAddress(ValueError):
    """Something stands where an address should; the text says what."""


def address(text: str, domain: str) -> Address:
    """One address; a bare name is one at C{domain}.

    @raise NotAnAddress: it is neither.
    """
    text = text.strip().removeprefix("<").removesuffix(">").strip()
    local = re.sub(_QUOTED, "", text)
    try:
        found = parse_address(text if "@" in local else f"{text}@{domain}")
        found.host  # noqa: B018 - which fails where there is no such domain
        return found
    except (SyntaxFault, ValueError):
        raise NotAnAddress(f"{text!r} is not an address") from None


def addresses(value: str, domain: str) -> list[Address]:
    """The addresses in a field's value, in their order: names, comments and the names of groups left out.

    @param value: may be folded.
    @raise NotAnAddress: one cannot be read. None is left out for that: a message for three must not go to two.
    """
    return [address(text, domain) for text in _mailboxes(value)]


def _mailboxes(value: str) -> Iterator[str]:
    """The text of each address, comments and names off."""
    text, angle = "", None
    for kind, token in [*_tokens(value), ("end", ",")]:
        if kind == "group":
            text = ""
        elif kind == "angle":
            if angle is not None:
                raise NotAnAddress(f"no comma between {angle} and {token}")
            angle = token
        elif kind != "end":
            text += token
        else:
            found = angle or _without_blanks(text)
            if found:
                yield found
            text, angle = "", None


def _without_blanks(text: str) -> str:
    """An address without brackets; blanks may stand around its dots and its @ alone."""
    text = re.sub(rf"({_QUOTED})|\s*([.@])\s*", lambda found: found[1] or found[2], text.strip(), flags=re.DOTALL)
    if re.search(r"\s", re.sub(_QUOTED, "", text)):
        raise NotAnAddress(f"{text!r} is not an address: a comma is missing, or angle brackets")
    return text


def _tokens(value: str) -> Iterator[tuple[str, str]]:
    """The tokens, comments made blanks."""
    start = 0
    while start < len(value):
        found = _TOKEN.match(value, start)
        if found is None:
            raise NotAnAddress(f"{value[start : start + 40]!r} is not an address: something is not closed")
        start = found.end()
        if found.lastgroup == "comment":
            start = _comment_end(value, start)
            yield "blank", " "
        else:
            yield str(found.lastgroup), found[0]


def _comment_end(value: str, start: int) -> int:
    """Where a comment that has begun is over; it may hold others."""
    depth = 1
    for found in _COMMENT_PART.finditer(value, start):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    raise NotAnAddress("a comment is not closed")
