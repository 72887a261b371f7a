"""What is sent or kept: a message of a known size, read as it is taken and never held whole."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from mailagent.compose.attachment import Attachment

#: Octets handed on at a time, about.
BLOCK = 65536


@attrs.frozen
class Content:
    """A message of C{pieces}, one after the other: octets, and attachments with this C{line_end}."""

    pieces: tuple[bytes | Attachment, ...]
    line_end: bytes

    @property
    def size(self) -> int:
        """Octets.

        @raise OSError: an attachment is gone.
        """
        return sum(len(piece) if isinstance(piece, bytes) else piece.size(self.line_end) for piece in self.pieces)

    def __iter__(self) -> Iterator[bytes]:
        """The octets, in blocks.

        @raise OSError: an attachment cannot be read, or changes on the way.
        """
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield from (piece[start : start + BLOCK] for start in range(0, len(piece), BLOCK))
            else:
                yield from piece.blocks(self.line_end)
