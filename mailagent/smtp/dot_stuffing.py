"""The content of a message as DATA wants it (RFC 5321 sections 2.3.8 and 4.5.2), chunk by chunk.

Guarantees, wherever the chunks are cut: every line end (LF, CRLF or bare CR) goes out as CRLF and no CR or LF
goes out otherwise; every line that opens with a dot has it doubled, the very first line too; the end mark stands
once, after a line end. So the content arrives whole, and no part of it can pass for the end or for a command.
Works in constant memory beyond the chunk. Cannot fail.
"""

from __future__ import annotations

import attrs


@attrs.define
class DotStuffing:
    """Encodes one message: L{encode} for each chunk, then L{finish} once."""

    _at_line_start: bool = attrs.field(default=True, init=False)
    _after_cr: bool = attrs.field(default=False, init=False)

    def encode(self, chunk: bytes) -> bytes:
        """The chunk as it goes over the wire. May be empty for a chunk that is not."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # its line end went out with the CR
            self._after_cr = False
        if not chunk:
            return b""
        self._after_cr = chunk.endswith(b"\r")
        unified = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        stuffed = unified.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")
        if self._at_line_start and stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = stuffed.endswith(b"\n")
        return stuffed

    def finish(self) -> bytes:
        """The end mark, preceded by the CRLF that the last line lacks, if it lacks one."""
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"
