"""The argument of XCLIENT: what a proxy tells of its client (Postfix's C{XCLIENT_README}).

A pure function. All attributes are checked; the session needs the address and the port alone: the client's HELO, and
with it the protocol, comes after XCLIENT by the proxy, and the name is what we would look up ourselves.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

import attrs
from twisted.internet.address import IPv4Address, IPv6Address

from mailagent.envelope.reply import Reply
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.parameters import decode_xtext
from mailagent.smtp.peer import Peer

#: What EHLO offers. LOGIN is not taken: nobody is logged in by a word.
OFFERED = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT")
_UNKNOWN = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_MAX_NAME = 255

_BAD_SYNTAX = Reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...")
_NO_LOGIN = Reply(550, "5.7.0", "LOGIN is not taken from a proxy")


@attrs.frozen
class Told:
    """What was told, by attribute: decoded text, or C{None} for what the proxy does not know either."""

    attributes: Mapping[str, str | None]

    def peer(self, before: Peer) -> Peer:
        """The client, who is C{before} as far as nothing was told."""
        address = self.attributes.get("ADDR", before.address)
        port = int(self.attributes.get("PORT", str(before.port)) or 0)
        if address is None or address == "unknown":
            return Peer("unknown", port)
        kind = IPv6Address if ":" in address else IPv4Address
        return Peer.at(kind("TCP", address, port))


def parse(argument: bytes) -> Told:
    """Read the argument.

    @raise SyntaxFault: C{501 5.5.4}, or C{550 5.7.0} for a login.
    """
    attributes: dict[str, str | None] = {}
    for word in argument.decode("ascii", "replace").split():
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or name not in (*OFFERED, "LOGIN") or name in attributes:
            raise SyntaxFault(_BAD_SYNTAX)
        try:
            attributes[name] = None if value.upper() in _UNKNOWN else _CHECKS[name](decode_xtext(value))
        except ValueError:
            raise SyntaxFault(_BAD_SYNTAX) from None
    if not attributes:
        raise SyntaxFault(_BAD_SYNTAX)
    if attributes.get("LOGIN") is not None:
        raise SyntaxFault(_NO_LOGIN)
    return Told(attributes)


def _address(text: str) -> str:
    """IPv6 has C{IPV6:} before it, as in an address literal; some proxies leave it out."""
    if text[:5].upper() == "IPV6:":
        text = str(ipaddress.IPv6Address(text[5:]))
    if "%" in text:
        raise ValueError("a zone means nothing on another machine")
    return str(ipaddress.ip_address(text))


def _port(text: str) -> str:
    if not re.match(r"[0-9]{1,5}\Z", text, re.ASCII) or int(text) > 65535:
        raise ValueError("no port")
    return text


def _protocol(text: str) -> str:
    if text.upper() not in ("SMTP", "ESMTP"):
        raise ValueError("no protocol")
    return text.upper()


def _name(text: str) -> str:
    if len(text) > _MAX_NAME:
        raise ValueError("no name is so long")
    return text


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "NAME": _name,
    "ADDR": _address,
    "PORT": _port,
    "PROTO": _protocol,
    "HELO": _name,
    "LOGIN": _name,
    "DESTADDR": _address,
    "DESTPORT": _port,
}
