"""Watches the header of a message go by: how large it is, and how many hosts have had the message before.

The header ends at the first line that is neither a field nor the continuation of one, so a bare text has none.
"""

from __future__ import annotations

import re

from mailagent.envelope.trace import FIRST_LINE_LIMIT, begins_with_field

_RECEIVED = re.compile(rb"received[ \t]*:", re.IGNORECASE)


class HeaderWatch:
    """Reads content in chunks, border where they may, and keeps the beginning of one line at most.

    @ivar size: octets of the header so far, line ends counted as one.
    @ivar hops: C{Received} fields so far, each put on by a host that took the message (RFC 5321 section 6.3).
    @ivar ended: nothing more will be counted.
    """

    def __init__(self) -> None:
        self.size = 0
        self.hops = 0
        self.ended = False
        self._line = b""
        self._length = 0

    def feed(self, content: bytes) -> None:
        """Look at the next octets of the content, line ends LF."""
        start = 0
        while not self.ended and start < len(content):
            end = content.find(b"\n", start)
            stop = len(content) if end < 0 else end
            self._line += content[start : min(stop, start + FIRST_LINE_LIMIT - len(self._line))]
            self._length += stop - start
            start = stop + 1
            if end >= 0:
                self._line_done()
            elif len(self._line) == FIRST_LINE_LIMIT and not self._is_header:
                self.ended = True

    @property
    def total(self) -> int:
        """The size with the line that is still coming in, if that may belong to the header."""
        return self.size if self.ended else self.size + self._length

    @property
    def _is_header(self) -> bool:
        return begins_with_field(self._line) or (self.size > 0 and self._line.startswith((b" ", b"\t")))

    def _line_done(self) -> None:
        self.ended = not self._is_header
        if not self.ended:
            self.size += self._length + 1
            self.hops += _RECEIVED.match(self._line) is not None
        self._line, self._length = b"", 0
