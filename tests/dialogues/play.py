"""Reads the conversations of this folder and holds them with a server in memory, or over any wire."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from mailagent.directory.users_file import UsersFile
from mailagent.directory.verifiers import ScramVerifier
from mailagent.smtp.proxied import Proxies
from mailagent.smtp.role import LMTP, ROLES, Role
from tests.memory_server import STRANGER, Connection, MemoryQueue, MemoryServer

FOLDER = Path(__file__).parent
#: Who may log in where a conversation says "users"; everybody's password is "secret".
_SECRET = ScramVerifier.make("secret", b"0123456789abcdef", 4096)
USERS = (
    UsersFile.parse(b"")
    .with_secret(b"0123456789abcdef")
    .adding("ann", _SECRET)
    .adding("user1", _SECRET, ["info@partner.example"])
)

#: Reply lines expected: beginnings, C{"+250"} for all lines of one reply, C{"close"} for the connection's end.
Replies = tuple[str, ...]


@attrs.frozen
class Turn:
    """What the client says after waiting, and the beginnings of the reply lines it then gets."""

    said: bytes
    replies: Replies
    wait: float = 0.0


@attrs.frozen
class Dialogue:
    """One conversation. C{as_written}: its turns mean something only as they are, each in one segment.
    C{in_the_clear}: it would be another one after STARTTLS. C{xclient}: the peer may say XCLIENT. C{queue}: the server
    has one."""

    name: str
    turns: tuple[Turn, ...]
    peer: str = STRANGER
    limits: dict[str, Any] = attrs.field(factory=dict)
    stored: dict[str, int] = attrs.field(factory=dict)
    users: UsersFile | None = None
    role: Role | None = None
    lockstep: bool = False
    as_written: bool = False
    in_the_clear: bool = False
    xclient: bool = False
    queue: bool = False

    def server(self, tls: IOpenSSLServerConnectionCreator | None = None) -> MemoryServer:
        """The server that it is held with."""
        queue = MemoryQueue() if self.queue else None
        return MemoryServer(users=self.users, role=self.role, tls=tls, queue=queue, **self.limits)

    @property
    def hello(self) -> bytes:
        """How the client says who it is."""
        return b"LHLO a\r\n" if self.role is LMTP else b"EHLO a\r\n"

    @property
    def timed(self) -> bool:
        """Whether the clock plays a part."""
        return any(turn.wait for turn in self.turns)

    @property
    def local(self) -> bool:
        """Whether the peer may be this machine: it is, or it is nobody in particular and begins with a CRLF."""
        first = next((turn.said for turn in self.turns if b"\n" in turn.said), b"")
        return self.peer == "127.0.0.1" or (self.peer == STRANGER and b"\n" not in first.replace(b"\r\n", b""))


def dialogues() -> Iterator[Dialogue]:
    """Every conversation in the folder, in the order of the files."""
    for file in sorted(FOLDER.glob("*.txt")):
        for number, text in enumerate(file.read_text("utf-8").split("\n----\n"), 1):
            yield read(f"{file.stem}-{number}", text)


def read(name: str, text: str) -> Dialogue:
    """A conversation from its lines.

    @raise ValueError: a line is none of those that the README lists.
    """
    dialogue = Dialogue(name, ())
    turns: list[tuple[bytes, list[str], float]] = [(b"", [], 0.0)]
    for line in filter(None, text.splitlines()):
        mark, _, rest = line.partition(" ")
        if mark == "C:":
            turns.append((rest.encode() + b"\r\n", [], 0.0))
        elif mark == "C\\":
            turns.append((rest.encode("latin-1").decode("unicode_escape").encode("latin-1"), [], 0.0))
        elif mark == "wait":
            turns.append((b"", [], float(rest)))
        elif mark in ("S:", "S+"):
            turns[-1][1].append(rest if mark == "S:" else f"+{rest}")
        elif mark == "=":
            dialogue.stored[rest.split()[0]] = int(rest.split()[1])
        elif mark != "#":
            dialogue = _about(dialogue, line)
    return attrs.evolve(dialogue, turns=tuple(Turn(said, tuple(replies), wait) for said, replies, wait in turns))


#: Lines that say something of a dialogue by being there.
_FLAGS = {"as written", "in the clear", "lockstep", "queue", "xclient"}


def _about(dialogue: Dialogue, line: str) -> Dialogue:
    mark, _, rest = line.partition(" ")
    if mark == "peer":
        return attrs.evolve(dialogue, peer=rest)
    if line in _FLAGS:
        flag: dict[str, Any] = {line.replace(" ", "_"): True}
        return attrs.evolve(dialogue, **flag)
    if line == "users":
        return attrs.evolve(dialogue, users=USERS)
    if mark == "role":
        return attrs.evolve(dialogue, role=ROLES[rest])
    if mark != "limit":
        raise ValueError(f"{dialogue.name}: {line!r}")
    setting, _, value = rest.partition(" ")
    return attrs.evolve(dialogue, limits=dialogue.limits | {setting: tomllib.loads(f"value = {value}")["value"]})


def hold(dialogue: Dialogue, segments: Callable[[bytes], list[bytes]]) -> None:
    """Hold a conversation, each turn cut into segments, and check every reply and mailbox."""
    server = dialogue.server()
    connection = connect(dialogue, server)
    for turn in dialogue.turns:
        server.clock.advance(turn.wait)
        got = connection.received()
        for segment in segments(turn.said) if turn.said else []:
            got += connection.send_at_once(segment)
        check(dialogue, turn, got, connection.closed)
    _check_stored(dialogue, server)


def hold_at_once(dialogue: Dialogue) -> None:
    """The same, with what the client ever says sent in as few segments as RFC 2920 lets it."""
    server = dialogue.server()
    connection = connect(dialogue, server)
    said = b"".join(turn.said for turn in dialogue.turns)
    got = connection.received() + connection.send(said)
    whole = Turn(said, tuple(reply for turn in dialogue.turns for reply in turn.replies))
    check(dialogue, whole, got, connection.closed)
    _check_stored(dialogue, server)


def connect(dialogue: Dialogue, server: MemoryServer) -> Connection:
    """The dialogue's peer connects."""
    connection = server.connect(dialogue.peer)
    if dialogue.xclient:
        connection.session.xclients = Proxies.of([dialogue.peer])
    return connection


def check(dialogue: Dialogue, turn: Turn, got: bytes, closed: bool) -> None:
    """Check what came after a turn."""
    lines = got.decode("ascii").splitlines()
    expected = [reply for reply in turn.replies if reply != "close"]
    assert is_answer(lines, expected), f"{dialogue.name}: after {turn.said!r}: {lines} is not {list(turn.replies)}"
    assert closed == ("close" in turn.replies), f"{dialogue.name}: after {turn.said!r}: closed is {closed}"


def is_answer(lines: list[str], expected: list[str]) -> bool:
    """Whether these reply lines are all that was expected, and nothing else."""
    rest = list(lines)
    for reply in expected:
        if not rest or not rest[0].startswith(reply.removeprefix("+")):
            return False
        while reply.startswith("+") and rest[0][3:4] == "-" and len(rest) > 1:
            rest.pop(0)
        rest.pop(0)
    return not rest


def _check_stored(dialogue: Dialogue, server: MemoryServer) -> None:
    for mailbox, number in dialogue.stored.items():
        assert len(server.stored(*mailbox.split("/"))) == number, f"{dialogue.name}: {mailbox}"
    assert server.all_stored == sum(dialogue.stored.values()), dialogue.name
