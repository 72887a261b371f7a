"""Every conversation is held in lock-step, octet by octet, pipelined, over TCP and over TLS: with the same result."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.dialogues.play import Dialogue, Turn, check, dialogues, hold, hold_at_once, is_answer
from tests.peers.server import DEADLINE, ROOT, environment

ALL = list(dialogues())
#: Those that mean the same however they are cut, and those whose peer may be this machine.
ANY_CUT = [dialogue for dialogue in ALL if not dialogue.as_written]
PIPELINED = [dialogue for dialogue in ANY_CUT if not dialogue.timed and not dialogue.lockstep]
LOCAL = [dialogue for dialogue in ALL if not dialogue.timed and dialogue.local]
PROTECTED = [dialogue for dialogue in LOCAL if not dialogue.in_the_clear]


def each(chosen: list[Dialogue]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("dialogue", chosen, ids=[dialogue.name for dialogue in chosen])


@each(ALL)
def test_in_lock_step(dialogue: Dialogue) -> None:
    hold(dialogue, lambda said: [said])


@each(ANY_CUT)
def test_octet_by_octet(dialogue: Dialogue) -> None:
    hold(dialogue, lambda said: [said[index : index + 1] for index in range(len(said))])


@each(PIPELINED)
def test_pipelined(dialogue: Dialogue) -> None:
    hold_at_once(dialogue)


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """The TCP ports of a server for every conversation, by name, all in one process."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.dialogues.tcp_servers"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()  # which ends it


@pytest.fixture(scope="module")
def client_tls() -> ssl.SSLContext:
    """A client's, who takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@each(LOCAL)
def test_over_tcp(dialogue: Dialogue, ports: dict[str, int]) -> None:
    with socket.create_connection(("127.0.0.1", ports[dialogue.name]), DEADLINE) as connection:
        for turn in dialogue.turns:
            take(dialogue, turn, connection)


@each(PROTECTED)
def test_over_tls(dialogue: Dialogue, ports: dict[str, int], client_tls: ssl.SSLContext) -> None:
    """After STARTTLS a session is as it was at the banner."""
    with socket.create_connection(("127.0.0.1", ports[f"tls:{dialogue.name}"]), DEADLINE) as plain:
        banner, *turns = dialogue.turns
        for turn in (banner, Turn(dialogue.hello, ("+250",)), Turn(b"STARTTLS\r\n", ("220 2.0.0",))):
            take(dialogue, turn, plain)
        with client_tls.wrap_socket(plain) as connection:
            for turn in turns:
                take(dialogue, turn, connection)


def take(dialogue: Dialogue, turn: Turn, connection: socket.socket) -> None:
    """Take a turn, and check the replies as soon as they are there."""
    connection.sendall(turn.said)
    got, closed = b"", False
    expected = [reply for reply in turn.replies if reply != "close"]
    while not closed and ("close" in turn.replies or not is_answer(got.decode().splitlines(), expected)):
        octets = connection.recv(65536)
        got, closed = got + octets, not octets
    check(dialogue, turn, got, closed)
