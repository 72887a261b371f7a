"""What an idle connection costs: resident memory for each of thousands, and how soon the next client is served.

C{python -m bench.idle_connections [--connections 10000] [--ehlo] [--tls]}, in the checkout. The server is a process of
its own with a few more connections open before the measurement begins, so that what it makes once is not counted.
Exit status 1: a connection in the clear costs more than it may.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import ssl
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.peers.server import DEADLINE, TWISTD, Server

#: Octets that an idle connection may cost.
ALLOWED = 8 * 1024
#: Descriptors that a process needs besides its connections.
_SPARE = 200
_WARM_UP = 16

_CONFIG = """
hostname = "bench.example"
[whitelist]
hosts = ["hostmeister.de"]
users = ["user1"]
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
[limits]
sessions = 20000
idle_time = "1 h"
"""


def resident(pid: int) -> int:
    """Octets of a process's memory that are in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def connect(port: int, *, ehlo: bool = False, tls: bool = False) -> socket.socket:
    """A connection that has had its banner, and then stays silent; or that is first greeted, under TLS or not."""
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
    expect(connection, b"220")
    if tls:
        converse(connection, b"EHLO client.example\r\n", b"STARTTLS\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    if ehlo or tls:
        converse(connection, b"EHLO client.example\r\n")
    return connection


def converse(connection: socket.socket, *turns: bytes) -> None:
    """Say each in turn, and hear that it is welcome."""
    for said in turns:
        connection.sendall(said)
        expect(connection, b"354" if said == b"DATA\r\n" else b"2")


def expect(connection: socket.socket, beginning: bytes) -> None:
    """Read one reply."""
    heard = b""
    while not heard.endswith(b"\n") or heard.splitlines()[-1][3:4] != b" ":
        octets = connection.recv(65536)
        if not octets:
            raise SystemExit(f"the server has closed the connection: {heard!r}")
        heard += octets
    if not heard.startswith(beginning):
        raise SystemExit(f"not what was expected: {heard!r}")


def serve_one(port: int) -> tuple[float, float]:
    """Bring one message; the seconds until the banner was there, and until the message was stored."""
    begun = time.perf_counter()
    with connect(port) as connection:
        met = time.perf_counter()
        converse(
            connection,
            b"EHLO client.example\r\n",
            b"MAIL FROM:<me@client.example>\r\n",
            b"RCPT TO:<user1@hostmeister.de>\r\n",
            b"DATA\r\n",
            b"Subject: served\r\n\r\nat once\r\n.\r\n",
        )
        return met - begun, time.perf_counter() - begun


def allow_connections(number: int) -> None:
    """Raise the soft limit of open files, for this process and the server it starts."""
    needed = number + _WARM_UP + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed, and the hard limit is {hard} (ulimit -Hn)")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def measure(directory: Path, number: int, *, ehlo: bool, tls: bool) -> float:
    """Open the connections, tell what they cost, and return the octets for each."""
    config = directory / "mailagent.toml"
    config.write_text(_CONFIG)
    command = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json", "--config", str(config)]
    server = Server(command, directory)
    with ExitStack() as stack:
        stack.callback(server.end)
        port = server.port
        for _ in range(_WARM_UP):
            stack.enter_context(connect(port, ehlo=ehlo, tls=tls))
        serve_one(port)
        before = resident(server.pid)
        begun = time.perf_counter()
        for _ in range(number):
            stack.enter_context(connect(port, ehlo=ehlo, tls=tls))
        seconds = time.perf_counter() - begun
        each = (resident(server.pid) - before) / number
        met, stored = serve_one(port)
        print(f"{number} connections in {seconds:.1f} s; resident {before / 2**20:.1f} MiB before them")
        print(f"each costs {each:.0f} octets (allowed: {ALLOWED})")
        print(f"the next client has its banner after {met * 1000:.1f} ms")
        print(f"and its message stored after {stored * 1000:.1f} ms")
        return each


def main() -> None:
    """Measure, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--ehlo", action="store_true", help="each client greets before it falls silent")
    parser.add_argument("--tls", action="store_true", help="each client greets, and has begun TLS")
    options = parser.parse_args()
    allow_connections(options.connections)
    with tempfile.TemporaryDirectory() as directory:
        each = measure(Path(directory), options.connections, ehlo=options.ehlo, tls=options.tls)
    sys.exit(each > ALLOWED and not options.tls)


if __name__ == "__main__":
    main()
