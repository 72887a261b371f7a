"""The message on standard input, taken into a file that has no name: it may be large, and may be needed twice."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from typing import IO

import attrs

from mailagent.sendmail.header import Header, header_of, is_field

#: Octets handed on at a time.
_BLOCK = 65536


class UnfitMessage(ValueError):
    """The message cannot be sent; the text says why."""


@attrs.frozen(eq=False)
class Message:
    """A message that has been read: its header, and a file with the rest, line ends LF.

    @ivar size: octets of the rest.
    @ivar eight_bit: whether the rest has octets above 127.
    """

    header: Header
    body: IO[bytes]
    size: int
    eight_bit: bool

    def blocks(self) -> Iterator[bytes]:
        """The message in pieces of bounded size, from the start each time."""
        yield bytes(self.header) + b"\n"
        self.body.seek(0)
        while block := self.body.read(_BLOCK):
            yield block


def read_message(stream: IO[bytes], *, dot_ends: bool, largest: int, largest_header: int) -> Message:
    """Read a message. Line ends may be LF, CRLF or CR; an mbox's C{From } line ahead of it is left out.

    @param dot_ends: whether a line with nothing but a dot ends it, as the end of the stream does.
    @param largest: octets of a message, at most; C{largest_header}, of its header.
    @raise UnfitMessage: it is larger, or there is nothing.
    @raise OSError: it cannot be read, or the file not be written.
    """
    lines = _lines(stream, dot_ends)
    line = next(lines, b"")
    if not line:
        raise UnfitMessage("there is no message on standard input")
    if line.startswith(b"From "):
        line = next(lines, b"")
    header, line = _read_header(line, lines, largest_header)
    body = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the message
    size, eight_bit = 0, False
    while line:
        size += body.write(line)
        if size > largest:
            raise UnfitMessage(f"the message is larger than {largest} octets")
        eight_bit = eight_bit or not line.isascii()
        line = next(lines, b"")
    return Message(header, body, size, eight_bit)


def _read_header(line: bytes, lines: Iterator[bytes], largest: int) -> tuple[Header, bytes]:
    """The header that begins with C{line}, if it does, and what the rest begins with."""
    fields: list[bytes] = []
    size, whole = 0, True
    while line and not (whole and not is_field(line, first=not fields)):
        if whole:
            fields.append(line)
        else:
            fields[-1] += line
        whole = line.endswith(b"\n")
        size += len(line)
        if size > largest:
            raise UnfitMessage(f"the header is larger than {largest} octets")
        line = next(lines, b"")
    return header_of(fields), next(lines, b"") if fields and line == b"\n" else line


def _lines(stream: IO[bytes], dot_ends: bool) -> Iterator[bytes]:
    """The lines, each LF-ended; one that is longer than a block comes in pieces, of which only the last is."""
    at_start, after_cr = True, False
    while raw := stream.readline(_BLOCK):
        if after_cr:
            raw = raw.removeprefix(b"\n")
        after_cr = raw.endswith(b"\r")
        if at_start and dot_ends and raw.rstrip(b"\r\n") == b"." and raw[1:]:
            return
        text = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield from re.findall(rb"[^\n]*\n|[^\n]+", text)
        at_start = not text or text.endswith(b"\n")
    if not at_start:
        yield b"\n"
