"""What of a message goes back with a report about it: its header, or all of a small one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs

#: Octets that are brought back, at most.
MOST = 64 * 1024


@attrs.frozen
class Returned:
    """Octets of a message from its start, line ends LF: C{whole}, or its header without the empty line after it."""

    octets: bytes = b""
    whole: bool = False


async def read_returned(pieces: AsyncIterator[bytes], whole: bool) -> Returned:
    """Read no more than is brought back.

    @param whole: all of it is wanted, unless it is longer than L{MOST}.
    """
    found = bytearray()
    async for piece in pieces:
        found += piece
        if len(found) > MOST or (not whole and _header_end(found) >= 0):
            return returned_header(found)
    return Returned(bytes(found), True) if whole else returned_header(found)


def returned_header(found: bytes | bytearray) -> Returned:
    """The header alone.

    @param found: the message's first octets.
    """
    return Returned(_header(found))


def _header_end(found: bytes | bytearray) -> int:
    """Where the header ends, behind its last line; -1 while that has not come."""
    if found.startswith(b"\n"):
        return 0
    end = found.find(b"\n\n")
    return end + 1 if end >= 0 else -1


def _header(found: bytes | bytearray) -> bytes:
    """The header, or as many of its lines as are brought back."""
    end = _header_end(found)
    if end < 0:
        end = len(found)
    if end > MOST:
        end = found.rfind(b"\n", 0, MOST) + 1
    return bytes(found[:end])
