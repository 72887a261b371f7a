"""Which fields a message's header has, told while the message goes by, in bounded memory."""

from __future__ import annotations

import re

from mailagent.envelope.trace import FIRST_LINE_LIMIT

_NAME = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")


class HeaderScan:
    """Looks for some fields in content with LF line ends.

    @ivar present: those of the C{wanted} names (lower case) that were found.
    """

    def __init__(self, wanted: frozenset[bytes]) -> None:
        self.present: set[bytes] = set()
        self._wanted = wanted
        self._line = b""
        self._over = False

    def feed(self, content: bytes) -> None:
        """Look at the next octets."""
        start = 0
        while start < len(content) and not self._over:
            end = content.find(b"\n", start)
            stop = end if end >= 0 else len(content)
            self._line += content[start : min(stop, start + FIRST_LINE_LIMIT - len(self._line))]
            start = stop + 1
            if end >= 0:
                self._end_of_line()

    def _end_of_line(self) -> None:
        found = _NAME.match(self._line)
        goes_on = found or self._line[:1] in (b" ", b"\t") or len(self._line) >= FIRST_LINE_LIMIT
        self._over = not goes_on  # at the empty line, and wherever else no field goes on
        self._line = b""
        if found and found[1].lower() in self._wanted:
            self.present.add(found[1].lower())
