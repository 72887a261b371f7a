"""The content of a message on the wire: the end of DATA found, dots unstuffed, line ends judged, in BDAT too.

Only CRLF.CRLF ends the content (RFC 5321 section 4.1.1.4). A bare CR or LF anywhere is a fault (section
2.3.8; the lever of "SMTP smuggling"): the decoder gives out nothing more, yet drains to the true end, so
that the session stays in step and no octet of a body is ever taken for a command.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"


class ContentDecoder:
    """Decodes DATA from chunks, border where they may. Never holds back more than four octets.

    @ivar size: octets of content so far, with CRLF line ends and without the dots of transparency, as SIZE
        counts them (RFC 1870 section 3).
    @ivar bare_line_end: a CR without its LF, or an LF without its CR, was found.
    """

    def __init__(self) -> None:
        self.size = 0
        self.bare_line_end = False
        # The content starts a line, so a dot there counts: begin behind a line end that is not there.
        self._held = b"\r\n"
        self._imaginary = 2

    def feed(self, chunk: bytes) -> tuple[bytes, bytes | None]:
        """Decode the next chunk.

        @return: the content it gives, line ends LF; and C{None}, or, once the end was found, the octets
            that follow it.
        """
        octets = self._held + chunk
        end = octets.find(_END)
        if end >= 0:
            return self._decode(octets[: end + 2]), octets[end + len(_END) :]
        border = len(octets) - _held_back(octets)
        self._held = octets[border:]
        return self._decode(octets[:border]), None

    def _decode(self, octets: bytes) -> bytes:
        # A CR is held back until what follows it is here, so no line end is ever cut in two.
        unstuffed = octets.replace(b"\r\n.", b"\r\n")
        content, bare = _with_newlines(unstuffed)
        self.bare_line_end = self.bare_line_end or bare
        if self._imaginary and unstuffed:
            self.size -= self._imaginary
            self._imaginary = 0
            content = content[1:]
        self.size += len(unstuffed)
        return b"" if self.bare_line_end else content

    def end(self) -> bytes:
        """The content is complete.

        @return: what of it was held back: nothing, for DATA ends with a line.
        """
        return b""


class ChunkDecoder:
    """Decodes BDAT's octets, which have no dots of transparency, from pieces, border where they may. Never holds back
    more than one octet. The attributes are L{ContentDecoder}'s.

    A message whose last line has no end gets one, as there is none in a mailbox without.
    """

    def __init__(self) -> None:
        self.size = 0
        self.bare_line_end = False
        self._held = b""
        self._last = b"\n"

    def feed(self, chunk: bytes) -> tuple[bytes, None]:
        """Decode the next octets.

        @return: the content they give, line ends LF; and C{None}, for the end is announced elsewhere.
        """
        octets = self._held + chunk
        self._held = b"\r" if octets.endswith(b"\r") else b""
        octets = octets.removesuffix(b"\r")
        self.size += len(octets)
        content, bare = _with_newlines(octets)
        self.bare_line_end = self.bare_line_end or bare
        self._last = content[-1:] or self._last
        return b"" if self.bare_line_end else content, None

    def end(self) -> bytes:
        """The content is complete.

        @return: what of it was held back or is missing: the end of its last line, or nothing.
        """
        if self._held:
            self.bare_line_end = True
        return b"\n" if self._last != b"\n" and not self.bare_line_end else b""


def _with_newlines(octets: bytes) -> tuple[bytes, bool]:
    """The octets with LF line ends, and whether there was a bare CR or LF; then they are good for nothing.

    To remove every CR takes a tenth of the time of replacing every CRLF.
    """
    content = octets.replace(b"\r", b"")
    returns = len(octets) - len(content)
    return content, not returns == content.count(b"\n") == octets.count(b"\r\n")


def _held_back(octets: bytes) -> int:
    """How many octets at the end could be the beginning of the end of data."""
    for length in (4, 3, 2, 1):
        if octets.endswith(_END[:length]):
            return length
    return 0
