"""SMTP replies (RFC 5321 section 4.2) with enhanced status codes (RFC 3463), as values."""

from __future__ import annotations

import re
from functools import lru_cache

import attrs

_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|\Z)", re.ASCII)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
#: RFC 5321 section 4.5.3.1.5: a reply line is at most 512 octets, code and CRLF included.
_MAX_TEXT = 480


@attrs.frozen
class Reply:
    """One reply: a three-digit C{code}, an enhanced C{status} such as C{"5.1.1"} (or C{""}), and text lines.

    Text may quote what a peer sent: it is made printable ASCII and kept within a line when written.
    """

    code: int
    status: str = ""
    text: str = ""

    @classmethod
    def read(cls, code: int, text: str) -> Reply:
        """A reply from its code and text, the enhanced status taken from the front of each line.

        A status whose class is not the code's is left in the text, as RFC 2034 section 4 forbids it.
        """
        status = ""
        lines = []
        for line in text.splitlines() or [""]:
            found = _STATUS.match(line)
            if found and found[1][0] == str(code)[0]:
                status = status or found[1]
                line = line[found.end() :]
            lines.append(line)
        return cls(code, status, "\n".join(lines))

    @property
    def positive(self) -> bool:
        """Whether the command was carried out or may go on (2yz, 3yz)."""
        return self.code < 400

    @property
    def transient(self) -> bool:
        """Whether trying again later makes sense (4yz)."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """Whether trying again makes no sense (5yz)."""
        return self.code >= 500

    def __bytes__(self) -> bytes:
        """The reply as it goes over the wire, each line with code and status, CRLF-ended."""
        return _octets(self.code, self.status, self.text)

    def __str__(self) -> str:
        """The reply on one line, for people."""
        return " ".join(part for part in (str(self.code), self.status, *self.text.splitlines()) if part)


@lru_cache(maxsize=256)  # most replies are the same few
def _octets(code: int, status: str, text: str) -> bytes:
    status = f"{status} " if status else ""
    if len(text) <= _MAX_TEXT and text.isascii() and text.isprintable():  # nearly all are
        return f"{code} {status}{text}\r\n".encode("ascii")
    lines = [_UNPRINTABLE.sub("?", line)[:_MAX_TEXT] for line in text.splitlines() or [""]]
    last = len(lines) - 1
    return "".join(
        f"{code}{'-' if number < last else ' '}{status}{line}\r\n" for number, line in enumerate(lines)
    ).encode("ascii")
