"""What is fuzzed, and what must hold whatever the octets. Each target takes octets and raises if it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mailagent.smtp.command_buffer import MAX_RESPONSE_LINE
from mailagent.smtp.connection import READ_AHEAD
from mailagent.smtp.content import ContentDecoder
from mailagent.smtp.grammar import SyntaxFault, parse_command, parse_helo, parse_mail, parse_rcpt
from tests.fuzz.scene import Scene
from tests.fuzz.wire import Client, Trouble, server_tls
from tests.fuzz.witness import USERS, Witness
from tests.maildir.support import Threads
from tests.memory_server import MemoryServer

#: One reply line: code, dash or space, printable text, no more than RFC 5321 section 4.5.3.1.5 allows.
_REPLY_LINE = re.compile(rb"[2345][0-9][0-9][ -][ -~]*\Z")
_STORED = re.compile(rb"250 2\.0\.0 Stored as (\S+)\r\n")
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
    """No exception, only well-formed replies, bounded memory; stored is what was acknowledged, and nothing else; and
    nobody is logged in without the password. L{Scene} tells which session it is."""
    scene, trouble, threads = Scene.of(octets), Trouble(), Threads()
    server = MemoryServer(
        run_in_thread=threads.run, users=USERS, role=scene.role, tls=scene.server_tls(server_tls()), **_LIMITS
    )
    witness = Witness(server)
    with trouble.watched():
        client = Client(server, scene)
        for segment in scene.cut(octets[2:]):
            if client.wire.closed:
                break
            late = scene.slow and client.session is not None and client.session.in_transaction
            client.send(scene.spelled(segment, client.session))
            if not late or client.wire.producerState == "paused":
                threads.finish_all()
            _check_held(client, witness)
        client.leave(threads, half_closing=scene.local)
    assert not trouble.seen
    _check_replies(client, scene)
    _check_stored(server, client.received)
    assert client.received.count(b"\r\n235 ") <= len(witness.names)


#: So low that a short input gets beyond each.
_LIMITS: dict[str, Any] = {
    "message_size": 500,
    "header_size": 200,
    "hops": 1,
    "recipients": 5,
    "recipients_per_session": 8,
    "commands_per_session": 60,
    "errors": 10,
    "memory": 4096,
}


def _check_held(client: Client, witness: Witness) -> None:
    """What waits is bounded, and who is logged in has been let in."""
    held = client.session
    if held is None:
        return
    assert len(held._input) <= (READ_AHEAD + _MOST_HELD if held._pending else _MOST_HELD)
    assert held.login_name in ("", *witness.names)
    assert held.authenticated == bool(held.login_name)


def _check_replies(client: Client, scene: Scene) -> None:
    assert client.received.endswith(b"\r\n") or (not client.received and (scene.proxied or client.implicit_tls))
    more = b""
    for line in client.received.split(b"\r\n")[:-1]:
        assert _REPLY_LINE.match(line), line
        assert len(line) <= 510, line
        assert line.startswith(more), line
        more = line[:3] if line[3:4] == b"-" else b""
    assert not more
    assert client.received_in_tls[:1] in (b"", b"\x15", b"\x16")  # an alert or a handshake


def _check_stored(server: MemoryServer, replies: bytes) -> None:
    """What is in mailboxes was acknowledged, and what was acknowledged is in mailboxes; nothing lies about."""
    new, tmp = (
        [name for box in server.directory.mailboxes() for name in server.files.names(f"{box.path}/{folder}")]
        for folder in ("new", "tmp")
    )
    acknowledged = {found.decode() for found in _STORED.findall(replies)}
    assert {name.split(".")[1].partition("_")[0] for name in new} == acknowledged
    assert not tmp
    assert server.files.descriptors == []
    assert server.budget.used == 0


TARGETS: dict[str, Callable[[bytes], None]] = {"grammar": grammar, "content": content, "session": session}
