"""Command lines cut out of the stream, in bounded memory.

Only CRLF ends a command. A line with a bare LF is refused as soon as that LF is seen, and nothing is a command
again until a CRLF has gone by: what follows the LF may be somebody else's words, injected into an argument.
"""

from __future__ import annotations

import enum

#: Longest command line in octets, CRLF included. RFC 5321 section 4.5.3.1.4 asks for 512 and lets extensions
#: add to it; no command we know comes near this.
MAX_LINE = 2048
#: Longest line of an AUTH exchange, CRLF included: what RFC 4954 section 4 asks for.
MAX_RESPONSE_LINE = 12_288
#: Octets of a refused line that are read and thrown away before the line counts as a flood.
MAX_SKIPPED = 65536


class LineFault(enum.Enum):
    """What came instead of a command line."""

    TOO_LONG = enum.auto()
    BARE_LF = enum.auto()
    BARE_CR = enum.auto()
    FLOOD = enum.auto()


class CommandBuffer:
    """Holds what has arrived and is not yet taken: as lines in command mode, raw in content.

    @param courtesy: take LF for CRLF throughout, if the very first line ends in a bare LF: a person typing into
        netcat. Nothing that begins with a CRLF ever gets there.
    """

    def __init__(self, courtesy: bool = False) -> None:
        self._courtesy = courtesy
        self._octets = bytearray()
        self._skipping = False
        self._skipped = 0
        self._newline_is_line_end = False

    def __len__(self) -> int:
        return len(self._octets)

    def feed(self, octets: bytes) -> None:
        """Append what arrived."""
        self._octets += self._translated(octets)

    def _translated(self, octets: bytes) -> bytes:
        return octets.replace(b"\n", b"\r\n") if self._newline_is_line_end else octets

    @property
    def speaks_newlines(self) -> bool:
        """Whether LF ends a line in this session."""
        return self._newline_is_line_end

    def take_line(self, longest: int = MAX_LINE) -> bytes | LineFault | None:
        """The next command line without its CRLF, or what is wrong with it, or C{None}: not all here yet.

        @param longest: octets it may have, CRLF included.
        """
        while True:
            end = self._octets.find(b"\n")
            if self._courtesy and end >= 0:
                end = self._begin(end)
            if self._skipping:
                fault = self._skip(end)
                if self._skipping or fault:
                    return fault
                continue
            if end < 0:
                return self._too_long() if len(self._octets) > longest else None
            return self._line(end, longest)

    def take_all(self) -> bytes:
        """Everything that has arrived, taken out."""
        octets = bytes(self._octets)
        self._octets.clear()
        return octets

    def take(self, length: int) -> bytes:
        """At most so many octets of what has arrived, taken out."""
        octets = bytes(self._octets[:length])
        del self._octets[:length]
        return octets

    def put_back(self, octets: bytes) -> None:
        """What L{take_all} gave out and was not wanted goes back in, as it is."""
        self._octets[:0] = octets

    def _begin(self, end: int) -> int:
        """Decide at the first LF, which is at C{end}, what ends a line; where the first line now ends."""
        self._courtesy = False
        if self._octets[max(end - 1, 0) : end] == b"\r":
            return end
        self._newline_is_line_end = True
        self._octets = bytearray(self._translated(bytes(self._octets)))
        return end + 1

    def _line(self, end: int, longest: int) -> bytes | LineFault:
        line = bytes(self._octets[:end])
        del self._octets[: end + 1]
        if not line.endswith(b"\r"):
            self._skipping = True
            self._skipped = 0
            return LineFault.BARE_LF
        if len(line) + 1 > longest:
            return LineFault.TOO_LONG
        if b"\r" in line[:-1]:
            return LineFault.BARE_CR
        return line[:-1]

    def _too_long(self) -> LineFault:
        self._courtesy = False
        self._skipping = True
        self._skipped = len(self._octets) - 1
        del self._octets[:-1]  # the last may be the CR of the line's end
        return LineFault.TOO_LONG

    def _skip(self, end: int) -> LineFault | None:
        """Throw away up to the CRLF at C{end}; a bare LF on the way is told once more, to a person typing."""
        stop = end + 1 if end >= 0 else max(len(self._octets) - 1, 0)
        clean = end > 0 and self._octets[end - 1] == 0x0D
        self._skipped += stop
        del self._octets[:stop]
        if clean:
            self._skipping = False
            return None
        if self._skipped > MAX_SKIPPED:
            self._skipped = 0
            return LineFault.FLOOD
        return LineFault.BARE_LF if end >= 0 else None
