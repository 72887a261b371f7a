"""Reads the conversations of this folder and holds them with a server in memory."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.memory_server import STRANGER, MemoryServer

FOLDER = Path(__file__).parent


@attrs.frozen
class Turn:
    """What the client says, and the beginnings of the reply lines it then gets."""

    said: bytes
    replies: tuple[str, ...]


@attrs.frozen
class Dialogue:
    """One conversation."""

    name: str
    turns: tuple[Turn, ...]
    peer: str = STRANGER
    limits: dict[str, Any] = attrs.field(factory=dict)
    stored: dict[str, int] = attrs.field(factory=dict)


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
    turns: list[tuple[bytes, list[str]]] = [(b"", [])]
    for line in filter(None, text.splitlines()):
        mark, _, rest = line.partition(" ")
        if mark == "C:":
            turns.append((rest.encode() + b"\r\n", []))
        elif mark == "C\\":
            turns.append((rest.encode("latin-1").decode("unicode_escape").encode("latin-1"), []))
        elif mark == "S:":
            turns[-1][1].append(rest)
        elif mark == "peer":
            dialogue = attrs.evolve(dialogue, peer=rest)
        elif mark == "limit":
            setting, _, value = rest.partition(" ")
            dialogue.limits[setting] = tomllib.loads(f"value = {value}")["value"]
        elif mark == "=":
            dialogue.stored[rest.split()[0]] = int(rest.split()[1])
        elif mark != "#":
            raise ValueError(f"{name}: {line!r}")
    return attrs.evolve(dialogue, turns=tuple(Turn(said, tuple(replies)) for said, replies in turns))


def hold(dialogue: Dialogue, segments: Callable[[bytes], list[bytes]]) -> None:
    """Hold a conversation, each turn cut into segments, and check every reply and mailbox."""
    server = MemoryServer(**dialogue.limits)
    connection = server.connect(dialogue.peer)
    for turn in dialogue.turns:
        got = connection.received()
        for segment in segments(turn.said) if turn.said else []:
            got += connection.send_at_once(segment)
        _check(dialogue, turn, got.decode("ascii").splitlines(), connection.closed)
    _check_stored(dialogue, server)


def hold_at_once(dialogue: Dialogue) -> None:
    """The same, with everything the client ever says sent in one segment."""
    server = MemoryServer(**dialogue.limits)
    connection = server.connect(dialogue.peer)
    said = b"".join(turn.said for turn in dialogue.turns)
    got = connection.received() + connection.send(said)
    whole = Turn(said, tuple(reply for turn in dialogue.turns for reply in turn.replies))
    _check(dialogue, whole, got.decode("ascii").splitlines(), connection.closed)
    _check_stored(dialogue, server)


def _check(dialogue: Dialogue, turn: Turn, got: list[str], closed: bool) -> None:
    expected = [reply for reply in turn.replies if reply != "close"]
    matches = len(got) == len(expected) and all(
        line.startswith(start) for line, start in zip(got, expected, strict=True)
    )
    assert matches, f"{dialogue.name}: after {turn.said!r}: {got} is not {list(turn.replies)}"
    assert closed == ("close" in turn.replies), f"{dialogue.name}: after {turn.said!r}: closed is {closed}"


def _check_stored(dialogue: Dialogue, server: MemoryServer) -> None:
    for mailbox, number in dialogue.stored.items():
        assert len(server.stored(*mailbox.split("/"))) == number, f"{dialogue.name}: {mailbox}"
    assert server.all_stored == sum(dialogue.stored.values()), dialogue.name
