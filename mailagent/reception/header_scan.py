"""What a message's header has that matters on its way, told while the message goes by, in bounded memory."""

from __future__ import annotations

import re

from mailagent.envelope.trace import FIRST_LINE_LIMIT

_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:[ \t]*")
#: Addresses that are kept of C{Delivered-To}.
_MOST_DELIVERED = 1000


class HeaderScan:
    """Looks at the header of content with LF line ends.

    @ivar present: those of the C{wanted} field names (lower case) that were found.
    @ivar delivered_to: what its C{Delivered-To} fields say, in lower case.
    @ivar ascii: whether it has no octet above 127.
    """

    def __init__(self, wanted: frozenset[bytes] = frozenset()) -> None:
        self.present: set[bytes] = set()
        self.delivered_to: set[str] = set()
        self.ascii = True
        self._wanted = wanted
        self._line = b""
        self._line_ascii = True
        self._over = False

    def feed(self, content: bytes) -> None:
        """Look at the next octets."""
        start = 0
        while start < len(content) and not self._over:
            end = content.find(b"\n", start)
            stop = end if end >= 0 else len(content)
            self._line_ascii = self._line_ascii and content[start:stop].isascii()
            self._line += content[start : min(stop, start + FIRST_LINE_LIMIT - len(self._line))]
            start = stop + 1
            if end >= 0:
                self._end_of_line()

    def _end_of_line(self) -> None:
        found = _FIELD.match(self._line)
        goes_on = found or self._line[:1] in (b" ", b"\t") or len(self._line) >= FIRST_LINE_LIMIT
        self._over = not goes_on  # at the empty line, and wherever else no field goes on
        if goes_on:
            self.ascii = self.ascii and self._line_ascii
        if found:
            self._field(found[1].lower(), self._line[found.end() :])
        self._line, self._line_ascii = b"", True

    def _field(self, name: bytes, value: bytes) -> None:
        if name in self._wanted:
            self.present.add(name)
        if name == b"delivered-to" and len(self.delivered_to) < _MOST_DELIVERED:
            self.delivered_to.add(value.decode("utf-8", "replace").strip().lower())
