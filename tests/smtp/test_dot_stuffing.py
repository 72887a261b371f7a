"""The stateful encoder of a message's content."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.mail.smtp import SMTPClient

from mailagent.smtp.dot_stuffing import DotStuffing

#: Octets in which line ends and dots meet often.
CHUNKS = st.lists(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\xe9"])).map(b"".join) | st.binary())


def encoded(*chunks: bytes) -> bytes:
    stuffing = DotStuffing()
    return b"".join(map(stuffing.encode, chunks)) + stuffing.finish()


def reference(content: bytes) -> bytes:
    """The same of the whole content at once, a line at a time."""
    lines = re.split(rb"\r\n|\r|\n", content)
    if lines[-1] == b"":
        lines.pop()
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


@given(CHUNKS)
def test_the_cut_into_chunks_makes_no_difference(chunks: list[bytes]) -> None:
    assert encoded(*chunks) == reference(b"".join(chunks))


@given(CHUNKS)
def test_no_bare_cr_or_lf_goes_out_and_only_the_end_is_an_end(chunks: list[bytes]) -> None:
    wire = encoded(*chunks)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)
    assert [found.start() for found in re.finditer(rb"(?:\A|(?<=\r\n))\.\r\n", wire)] == [len(wire) - 3]


@pytest.mark.parametrize("content", [b"one\r\n", b"one\n", b"one\r", b"one"])
def test_every_line_end_becomes_crlf_and_a_missing_one_is_added(content: bytes) -> None:
    assert encoded(content) == b"one\r\n.\r\n"


def test_empty_content_is_only_the_end_mark() -> None:
    assert encoded() == encoded(b"") == b".\r\n"


def test_a_line_end_cut_in_two_is_one_line_end() -> None:
    assert encoded(b"one\r", b"", b"\ntwo\r", b"\n") == b"one\r\ntwo\r\n.\r\n"


class TestStockDefect:
    """C{SMTPClient.transformChunk} of Twisted 26.10 stuffs dots within a chunk of 16 KiB, and turns CRLF into CRCRLF.

    Each test shows the defect in the stock encoder first, so that it tells when Twisted no longer has it.
    """

    @staticmethod
    def stock(chunk: bytes) -> bytes:
        return bytes(SMTPClient(b"client.example").transformChunk(chunk))

    def test_a_dot_that_opens_the_message_is_doubled(self) -> None:
        assert self.stock(b".\nMAIL FROM:<a@b>\n").startswith(b".\r\n")
        assert encoded(b".\nMAIL FROM:<a@b>\n").startswith(b"..\r\nMAIL")

    def test_a_dot_that_opens_a_line_at_a_chunk_boundary_is_doubled(self) -> None:
        chunks = b"x\n", b".\nMAIL FROM:<a@b>\n"
        assert b"\r\n.\r\nMAIL" in b"".join(map(self.stock, chunks))
        assert encoded(*chunks) == b"x\r\n..\r\nMAIL FROM:<a@b>\r\n.\r\n"

    def test_crlf_in_the_content_stays_crlf(self) -> None:
        assert self.stock(b"one\r\n") == b"one\r\r\n"
        assert encoded(b"one\r\n") == b"one\r\n.\r\n"

    @pytest.mark.parametrize("size", range(1, 9))
    def test_a_dot_at_every_chunk_boundary_is_doubled(self, size: int) -> None:
        content = (b"x" * (size - 1) + b"\n" + b".") * 20
        pieces = [content[start : start + size] for start in range(0, len(content), size)]
        assert encoded(*pieces) == reference(content)
