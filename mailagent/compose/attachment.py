"""A file that goes along with a message, as the MIME part (RFC 2045) it becomes. Read a block at a time, when sent."""

from __future__ import annotations

import io
import mimetypes
import re
from base64 import encodebytes
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO
from urllib.parse import quote

import attrs

_LINE = 57  # octets that make one line of 76 in base64 (RFC 2045 section 6.8)
_READ = _LINE * 1024
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f/]")
_PLAIN = re.compile(r"[\w !#$&()+,.;=@\[\]^{}~-]{1,60}\Z", re.ASCII)
_BASE64_FORBIDDEN = ("message/", "multipart/")  # RFC 2045 section 6.4


@attrs.frozen
class Attachment:
    """A file called C{name}, of media type C{type}; C{source} is where it is, or what is in it."""

    name: str
    type: str
    source: Path | bytes = attrs.field(repr=False)

    @classmethod
    def of_file(cls, path: Path) -> Attachment:
        """The file, its type guessed by its name.

        @raise OSError: it cannot be read, or is no regular file.
        """
        with open(path, "rb"):
            if not S_ISREG(path.stat().st_mode):
                raise OSError(0, "is not a regular file")
        return cls(path.name, _guessed(path.name), path)

    def size(self, line_end: bytes) -> int:
        """The octets of L{blocks}, as things are.

        @raise OSError: the file is gone.
        """
        return len(self._header(line_end)) + self._encoded(len(line_end))

    def blocks(self, line_end: bytes) -> Iterator[bytes]:
        """The MIME part, header and base64, in blocks.

        @raise OSError: the file cannot be read, or its size changes on the way.
        """
        expected = self._octets()
        yield self._header(line_end)
        with self._open() as file:
            while block := file.read(_READ):
                expected -= len(block)
                if expected < 0:
                    break
                yield encodebytes(block).replace(b"\n", line_end)
        if expected:
            raise OSError(0, f"{self.name} has changed while it was read")

    def _octets(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def _encoded(self, line_end: int) -> int:
        octets = self._octets()
        return -(-octets // 3) * 4 + -(-octets // _LINE) * line_end

    def _open(self) -> BinaryIO:
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else open(self.source, "rb")

    def _header(self, line_end: bytes) -> bytes:
        fields = (
            f"Content-Type: {self.type}",
            "Content-Transfer-Encoding: base64",
            f"Content-Disposition: attachment; {_file_name(self.name)}",
            "",
            "",
        )
        return line_end.join(field.encode("ascii") for field in fields)


def _guessed(name: str) -> str:
    kind, compression = mimetypes.guess_type(name, strict=False)
    if kind is None or compression is not None or kind.startswith(_BASE64_FORBIDDEN):
        return "application/octet-stream"
    return kind


def _file_name(name: str) -> str:
    """The parameter that keeps the name, in RFC 2231's form where it is more than a little ASCII."""
    name = _UNPRINTABLE.sub("_", name.encode("utf-8", "replace").decode("utf-8"))
    if _PLAIN.match(name) and name == name.strip():
        return f'filename="{name}"'
    return f"filename*=utf-8''{quote(name, safe='')}"
