"""Clients that mean harm, to be run beside honest ones: C{python -m bench.attacks NAME PORT}, until somebody ends it.

They come from other addresses of loopback than honest clients do, and run at low priority: in life they have
processors of their own. Loopback is exempt from C{limits.sessions_per_network}, so that limit does not help against
them, as it would in life.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle

from bench.idle_connections import converse
from bench.load import SENDER, greet
from bench.servers import HOST, USER

_SOURCES = [f"127.0.0.{number}" for number in range(2, 7)]
_CONNECTIONS = 40 * len(_SOURCES)
_SECONDS = 5.0
_LINE = 50 * 2**20
_RESETS = 100_000
_MAIL, _RCPT = f"MAIL FROM:<{SENDER}>\r\n".encode(), f"RCPT TO:<{USER}@{HOST}>\r\n".encode()

#: What a client has said before it begins to drip, by the state that it stays in.
STATES = {
    "command": (),
    "mail": (_MAIL,),
    "recipient": (_MAIL, _RCPT),
    "content": (_MAIL, _RCPT, b"DATA\r\n"),
}


def slow(port: int, said: tuple[bytes, ...]) -> None:
    """Hundreds that send an octet a second."""
    sources = cycle(_SOURCES)
    dripping: list[socket.socket] = []
    while True:
        begun = time.monotonic()
        while len(dripping) < _CONNECTIONS:
            dripping.append(greet(port, next(sources)))
            converse(dripping[-1], *said)
        for connection in dripping[:]:
            try:
                connection.sendall(b"x")
            except OSError:
                dripping.remove(connection)
        time.sleep(max(0.0, begun + 1 - time.monotonic()))


def deaf(port: int) -> None:
    """Commands without end, whose replies nobody reads."""
    for source in cycle(_SOURCES):
        _push(greet(port, source), b"NOOP\r\n" * 10_000, 1000)


def endless_line(port: int, said: tuple[bytes, ...]) -> None:
    """50 MB without a line end."""
    for source in cycle(_SOURCES):
        connection = greet(port, source)
        converse(connection, *said)
        _push(connection, b"x" * 65536, _LINE // 65536)


def resets(port: int) -> None:
    """100,000 times RSET, as one piece."""
    for source in cycle(_SOURCES):
        connection = greet(port, source)
        connection.setblocking(False)
        _exchange(connection, b"RSET\r\n" * _RESETS)


def storm(port: int) -> None:
    """Connections that end as soon as they are there, every second one by a reset."""
    abrupt = struct.pack("ii", 1, 0)
    for number, source in enumerate(cycle(_SOURCES)):
        try:
            connection = socket.create_connection(("127.0.0.1", port), _SECONDS, (source, 0))
        except OSError:
            continue
        with connection:
            if number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abrupt)


def _push(connection: socket.socket, octets: bytes, times: int) -> None:
    """Send without reading, until the other side has enough or does not move."""
    connection.settimeout(_SECONDS)
    with connection:
        try:
            for _ in range(times):
                connection.sendall(octets)
        except OSError:
            return


def _exchange(connection: socket.socket, octets: bytes) -> None:
    """Send, and read what comes, until the other side has enough."""
    with connection:
        for piece in _pieces(octets):
            try:
                connection.setblocking(True)
                connection.settimeout(_SECONDS)
                connection.sendall(piece)
                if not connection.recv(2**20):
                    return
            except OSError:
                return


def _pieces(octets: bytes, size: int = 60_000) -> Iterator[bytes]:
    return (octets[start : start + size] for start in range(0, len(octets), size))


ATTACKS: dict[str, Callable[[int], None]] = {
    **{f"slow in {state}": partial(slow, said=said) for state, said in STATES.items()},
    "deaf to replies": deaf,
    "50 MB without a line end, as a command": partial(endless_line, said=STATES["command"]),
    "50 MB without a line end, as content": partial(endless_line, said=STATES["content"]),
    "100,000 RSETs": resets,
    "a storm of connections": storm,
}


if __name__ == "__main__":
    os.nice(10)
    ATTACKS[sys.argv[1]](int(sys.argv[2]))
