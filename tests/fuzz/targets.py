"""What is fuzzed, and what must hold whatever the octets. Each target takes octets and raises if it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mailagent.smtp.command_buffer import MAX_RESPONSE_LINE
from mailagent.smtp.content import ContentDecoder
from mailagent.smtp.grammar import SyntaxFault, parse_command, parse_helo, parse_mail, parse_rcpt
from tests.memory_server import Connection, MemoryServer

#: One reply line: code, dash or space, printable text, no more than RFC 5321 section 4.5.3.1.5 allows.
_REPLY_LINE = re.compile(rb"[2345][0-9][0-9][ -][ -~]*\Z")
#: Octets that may wait in a session that is not waiting for anything itself.
_MOST_HELD = MAX_RESPONSE_LINE + 4


def grammar(octets: bytes) -> None:
    """A value or a C{501}; an address that parses is formatted so that it parses to itself."""
    parse_command(octets)
    _parsed(parse_helo, octets)
    for parse, keyword in ((parse_mail, "FROM:"), (parse_rcpt, "TO:")):
        address, _ = _parsed(parse, octets) or (None, {})
        if address is not None:
            assert parse(f"{keyword}<{address}>".encode()) == (address, {})


def _parsed(parse: Callable[[bytes], Any], octets: bytes) -> Any:
    """What C{parse} makes of the octets; C{None} where it refuses them, which it does with a C{501}."""
    code = 501
    try:
        return parse(octets)
    except SyntaxFault as fault:
        code = fault.reply.code
    assert code == 501
    return None


def content(octets: bytes) -> None:
    """Chunks do not matter, and nothing but a true end is one."""
    whole = ContentDecoder()
    given, rest = whole.feed(octets)
    step = octets[0] % 7 + 1 if octets else 1
    pieces = ContentDecoder()
    again, end = b"", None
    for start in range(0, len(octets), step):
        piece, end = pieces.feed(octets[start : start + step])
        again += piece
        if end is not None:
            end += octets[start + step :]
            break
    assert end == rest
    assert pieces.bare_line_end == whole.bare_line_end
    if not whole.bare_line_end:
        assert again == given
    if rest is not None:
        assert (b"\r\n" + octets)[: len(octets) + 2 - len(rest)].endswith(b"\r\n.\r\n")


def session(octets: bytes) -> None:
    """No exception, only well-formed replies, bounded memory, nothing stored that was not acknowledged."""
    server = MemoryServer(message_size=10_000, recipients=5, errors=10)
    connection = server.connect("127.0.0.1" if octets[:1] > b"\x80" else "192.0.2.7")
    step = octets[1] + 1 if len(octets) > 1 else 1
    got = connection.received()
    for start in range(2, len(octets), step):
        if connection.closed:
            break
        got += connection.send(octets[start : start + step])
        assert len(connection.session._input) <= _MOST_HELD
    _check_replies(got)
    assert server.all_stored <= 5 * got.count(b"Stored as")
    _end(connection)
    assert server.files.descriptors == []


def _check_replies(got: bytes) -> None:
    assert got.endswith(b"\r\n")
    for line in got.split(b"\r\n")[:-1]:
        assert _REPLY_LINE.match(line), line
        assert len(line) <= 510, line


def _end(connection: Connection) -> None:
    connection.lose()


TARGETS: dict[str, Callable[[bytes], None]] = {"grammar": grammar, "content": content, "session": session}
