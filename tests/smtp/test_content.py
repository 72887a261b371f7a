"""The end of data and the line ends, whatever the chunks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.smtp.content import ChunkDecoder, ContentDecoder

FRAGMENTS = [b"\r", b"\n", b"\r\n", b".", b"..", b"\r\n.", b"\r\n.\r\n", b"a", b"text", b"\x00", b"QUIT\r\n", b"\xff"]
wires = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(b"".join)


def decode(wire: bytes, *borders: int) -> tuple[bytes, bytes | None, ContentDecoder]:
    """Decode C{wire} cut at C{borders}: the content, what follows the end (C{None}: no end), the decoder."""
    decoder = ContentDecoder()
    content = b""
    cuts = [0, *sorted(border for border in borders if border < len(wire)), len(wire)]
    for start, stop in itertools.pairwise(cuts):
        piece, rest = decoder.feed(wire[start:stop])
        content += piece
        if rest is not None:
            return content, rest + wire[stop:], decoder
    return content, None, decoder


def reference(wire: bytes) -> tuple[list[bytes], bytes | None]:
    """Lines of the content, by the letter of RFC 5321 section 4.5.2, and what follows its end."""
    lines = wire.split(b"\r\n")
    for number, line in enumerate(lines[:-1]):
        if line == b".":
            return [line.removeprefix(b".") for line in lines[:number]], b"\r\n".join(lines[number + 1 :])
    return [], None


@given(wires, st.lists(st.integers(0, 100), max_size=8))
def test_decoding_is_that_of_the_rfc_whatever_the_chunks(wire: bytes, borders: list[int]) -> None:
    lines, expected_rest = reference(wire)
    content, rest, decoder = decode(wire, *borders)
    assert rest == expected_rest
    if rest is not None:
        bare = any(b"\r" in line or b"\n" in line for line in lines)
        assert decoder.bare_line_end == bare
        assert decoder.size == sum(len(line) + 2 for line in lines)
        if not bare:
            assert content == b"".join(line + b"\n" for line in lines)


@given(st.lists(st.text("ab. \x00é", max_size=8).map(str.encode), max_size=8))
def test_stuffed_content_comes_out_as_it_was(lines: list[bytes]) -> None:
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    content, rest, decoder = decode(stuffed + b".\r\nNEXT", *range(len(stuffed) + 7))
    assert content == b"".join(line + b"\n" for line in lines)
    assert rest == b"NEXT"
    assert not decoder.bare_line_end


@pytest.mark.parametrize(
    "smuggled",
    [
        b"a\n.\nX", b"a\n.\r\nX", b"a\r\n.\nX", b"a\r.\rX", b"a\r.\r\nX", b"a\r\n.\rX", b"a\r\n\x00.\r\nX",
        b"a\r\n.\x00\r\nX", b"a\r\n.\r\r\nX", b"a\n\n.\n\nX", b"a\r\r\n.\r\r\nX", b"\n.\nX", b"a\r\n.\r\x00\nX",
    ],
)  # fmt: skip
def test_only_crlf_dot_crlf_ends_the_content(smuggled: bytes) -> None:
    content, rest, decoder = decode(smuggled + b"\r\n.\r\nNEXT")
    assert rest == b"NEXT"
    assert decoder.bare_line_end == (b"\x00." not in smuggled and b".\x00\r\n" not in smuggled)
    assert b"X" not in content or not decoder.bare_line_end


def test_after_a_bare_line_end_no_more_content_is_given_out() -> None:
    decoder = ContentDecoder()
    assert decoder.feed(b"good\r\n")[0] == b"good"
    assert decoder.feed(b"bad\nline\r\n") == (b"", None)
    assert decoder.feed(b"more\r\n.\r\n") == (b"", b"")


def test_empty_content_and_an_empty_line_are_different() -> None:
    assert decode(b".\r\n")[0] == b""
    assert decode(b"\r\n.\r\n")[0] == b"\n"


def test_a_long_line_passes_through_without_being_held_back() -> None:
    decoder = ContentDecoder()
    for _ in range(100):
        content, rest = decoder.feed(b"x" * 65536)
        assert len(content) == 65536
        assert rest is None


def test_at_most_four_octets_are_held_back() -> None:
    decoder = ContentDecoder()
    assert decoder.feed(b"abc\r\n.\r") == (b"abc", None)
    assert decoder.feed(b"x")[0] == b""  # a bare CR it was
    assert decoder.bare_line_end


chunk_wires = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"\r\n.\r\n", b"a", b"\x00"]), max_size=20)


@given(chunk_wires.map(b"".join), st.lists(st.integers(0, 60), max_size=6))
def test_chunks_are_decoded_the_same_wherever_they_are_cut(wire: bytes, borders: list[int]) -> None:
    decoder = ChunkDecoder()
    cuts = [0, *sorted(border for border in borders if border < len(wire)), len(wire)]
    content = b"".join(decoder.feed(wire[start:stop])[0] for start, stop in itertools.pairwise(cuts)) + decoder.end()
    lines = wire.split(b"\r\n")
    assert decoder.bare_line_end == any(b"\r" in line or b"\n" in line for line in lines)
    if not decoder.bare_line_end:
        assert decoder.size == len(wire)
        assert content == b"".join(line + b"\n" for line in (lines if lines[-1] else lines[:-1]))
