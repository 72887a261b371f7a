"""Text inside parameters (RFC 3461 section 4, RFC 6533 section 3): what a command line cannot hold is written out.

Pure functions. What L{encode_xtext} and L{encode_original} return is printable ASCII without a space or an equals sign.
"""

from __future__ import annotations

import re

_XTEXT_QUOTED = re.compile(rb"[^!-*,-<>-~]")
_UTF8_QUOTED = re.compile(r"[^!-*,-<>-\[\]-~]")
_UTF8_CHARACTER = re.compile(r"\\x\{([0-9A-F]{2,6})\}")

#: The address type of RFC 6533.
UTF_8 = "utf-8"
#: Most characters of ENVID (RFC 3461 section 4.4) and of ORCPT (section 4.2), written out.
MAX_ENVELOPE_ID, MAX_ORIGINAL = 100, 500


def encode_xtext(text: str) -> str:
    """Xtext, of UTF-8 octets. What is no text (half of a surrogate pair) becomes question marks."""
    return _XTEXT_QUOTED.sub(lambda found: b"+%02X" % found[0][0], text.encode("utf-8", "replace")).decode("ascii")


def encode_original(kind: str, address: str) -> str:
    """ORCPT's value: an address type and an address.

    An address of type C{utf-8} is written in its seven-bit form, which any server with DSN takes.
    """
    if kind != UTF_8:
        return f"{kind};{encode_xtext(address)}"
    return f"{kind};" + _UTF8_QUOTED.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", address)


def decode_utf8_address(text: str) -> str:
    """The address that a seven-bit form of type C{utf-8} stands for, where it is one; else C{text}."""

    def character(found: re.Match[str]) -> str:
        number = int(found[1], 16)
        return chr(number) if number <= 0x10FFFF and chr(number).isprintable() else found[0]

    return _UTF8_CHARACTER.sub(character, text)
