"""What a server is driven with: Postfix's C{smtp-source}, and our own generator where each message's time is wanted."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from itertools import count

import attrs

from bench.idle_connections import converse, expect
from bench.servers import HOST, USER, users
from tests import programs
from tests.peers.server import DEADLINE

SENDER = "me@client.example"
ELSEWHERE = "elsewhere.example"


@attrs.frozen
class Load:
    """How much mail of which kind.

    @ivar size: octets of a message's body.
    @ivar recipients: of each message.
    @ivar kept: whether a session's messages all come over one connection.
    @ivar remote: whether they are for elsewhere.
    """

    messages: int
    size: int = 4096
    sessions: int = 20
    recipients: int = 1
    kept: bool = False
    remote: bool = False

    @property
    def host(self) -> str:
        return ELSEWHERE if self.remote else HOST


def send(load: Load, port: int) -> None:
    """Send it all by C{smtp-source}, or by our own generator where there is none.

    @raise subprocess.CalledProcessError: the server did not take it.
    """
    program = programs.find("smtp-source")
    if program is None:
        times(load, port)
        return
    command = [program, "-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)]
    command += ["-r", str(load.recipients), "-f", SENDER, "-t", f"{USER}@{load.host}", *["-d"] * load.kept]
    subprocess.run([*command, f"127.0.0.1:{port}"], check=True, stdout=subprocess.DEVNULL)


def content(size: int) -> bytes:
    """A message with a body of so many octets, and the end of DATA."""
    line = b"x" * 70 + b"\r\n"
    body = line * (size // len(line)) + b"x" * max(0, size % len(line) - 2) + b"\r\n"
    return b"From: me@client.example\r\nSubject: bench\r\n\r\n" + body + b".\r\n"


def times(load: Load, port: int) -> list[float]:
    """Send it all, and return each message's seconds from its connection (or MAIL, on a kept one) to its C{250}.

    @raise SystemExit: the server did not take it.
    """
    found: list[float] = []
    octets, left = content(load.size), count(1)
    failures: list[BaseException] = []

    def session() -> None:
        try:
            connection = None
            while next(left) <= load.messages:
                begun = time.perf_counter()
                connection = connection or greet(port)
                transaction(connection, load, octets)
                found.append(time.perf_counter() - begun)
                if not load.kept:
                    leave(connection)
                    connection = None
        except (OSError, SystemExit) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=session) for _ in range(load.sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"{len(failures)} sessions failed; the first: {failures[0]}")
    return found


def greet(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A connection that has been greeted.

    @param source: the address it comes from.
    """
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE, (source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    expect(connection, b"220")
    converse(connection, b"EHLO client.example\r\n")
    return connection


def transaction(connection: socket.socket, load: Load, octets: bytes) -> None:
    """One message, without pipelining, as C{smtp-source} does it."""
    names = users(load.recipients)
    turns = [f"MAIL FROM:<{SENDER}>\r\n", *(f"RCPT TO:<{name}@{load.host}>\r\n" for name in names), "DATA\r\n"]
    converse(connection, *(turn.encode() for turn in turns), octets)


def leave(connection: socket.socket) -> None:
    """Say goodbye, and wait for nothing."""
    connection.sendall(b"QUIT\r\n")
    connection.close()


def in_turn(loads: Sequence[Load], port: int) -> list[float]:
    """The seconds that each load takes, one after the other."""
    found = []
    for load in loads:
        begun = time.perf_counter()
        send(load, port)
        found.append(time.perf_counter() - begun)
    return found
