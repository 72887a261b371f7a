"""How long one message for a living destination takes, however many wait for a dead one.

C{python -m bench.dead_destination [--queued 0 1000 100000] [--domains 1] [--rounds 20] [--directory DIR]}, in the
checkout. The dead one refuses connections, takes them and says nothing, or does not even answer the attempt. What waits
for it is in the queue, and due, before the server starts. The time runs from the C{250} for the message until it has
arrived. Exit status 1: it grows.
"""

from __future__ import annotations

import argparse
import smtplib
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median

from bench.processes import Sink, await_port
from mailagent.database.engine import database_url, for_writing
from mailagent.database.migration import migrate
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.queued import QueuedMessage
from mailagent.queue.store import Store
from tests.peers.server import DEADLINE, TWISTD, Server, free_port

#: How much longer it may take than with nothing queued: times, and seconds that noise alone can make.
_TIMES, _NOISE = 3.0, 0.05
_BATCH = 1000
_BODY = b"Subject: bench\n\n" + b"x" * 1000

_CONFIG = """
hostname = "bench.example"
state = "state"
[whitelist]
hosts = ["hostmeister.de"]
users = ["user1"]
[[listen]]
endpoint = "tcp:{own_port}:interface=127.0.0.1"
[relay]
networks = ["127.0.0.0/8"]
[routes]
"living.example" = {{ to = "smtp:127.0.0.1:{living}" }}
"*" = {{ to = "smtp:127.0.0.1:{dead}" }}
"""


def refusing(stack: ExitStack) -> int:
    """A port where nobody listens."""
    return free_port()


def mute(stack: ExitStack) -> int:
    """A port where connections are taken, and nothing is said."""
    return _listener(stack, 1000)


def unanswering(stack: ExitStack) -> int:
    """A port where attempts to connect get no answer: its queue is full."""
    port = _listener(stack, 0)
    for _ in range(4):
        filling = stack.enter_context(closing(socket.socket()))
        filling.setblocking(False)
        filling.connect_ex(("127.0.0.1", port))
    return port


def _listener(stack: ExitStack, backlog: int) -> int:
    listener = stack.enter_context(closing(socket.socket()))
    listener.bind(("127.0.0.1", 0))
    listener.listen(backlog)
    port: int = listener.getsockname()[1]
    return port


DEAD: dict[str, Callable[[ExitStack], int]] = {"refusing": refusing, "mute": mute, "unanswering": unanswering}


def fill(state: Path, queued: int, domains: int) -> None:
    """Put so many messages into a new queue, all due."""
    engine = for_writing(database_url("sqlite:///queue.db", str(state)))
    migrate(engine)
    store, now = Store("bench"), time.time()
    for batch in _batches(queued, domains):
        with engine.begin() as connection:
            store.insert(connection, batch, _BODY, now)
    engine.dispose()


def _batches(queued: int, domains: int) -> Iterator[list[QueuedMessage]]:
    me = Address("me", "bench.example")
    for start in range(0, queued, _BATCH):
        yield [
            QueuedMessage(f"m{number}", Envelope(me, (Address("you", f"d{number % domains}.example"),)), b"", None)
            for number in range(start, min(start + _BATCH, queued))
        ]


def send_one(port: int, sink: Sink) -> float:
    """Queue one message for the living destination; seconds until it has arrived."""
    expected = sink.count + 1
    with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as client:
        client.sendmail("me@client.example", ["you@living.example"], _BODY.replace(b"\n", b"\r\n"))
        begun = time.perf_counter()
        sink.wait_for(expected, DEADLINE, 0.001)
    return time.perf_counter() - begun


def measure(kind: str, queued: int, options: argparse.Namespace) -> tuple[float, float]:
    """The median, and the longest, of the times that a message took."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        home.chmod(0o755)
        (home / "state").mkdir(0o700)
        sink = Sink(home)
        stack.callback(sink.end)
        dead, own_port = DEAD[kind](stack), free_port()
        fill(home / "state", queued, options.domains)
        config = home / "mailagent.toml"
        config.write_text(_CONFIG.format(own_port=own_port, living=sink.port, dead=dead))
        command = [str(TWISTD), "-n", "--pidfile=", "--logfile=log", "mailagent", "--config", str(config)]
        stack.callback(Server(command, home).end)
        await_port(own_port)
        send = partial(send_one, own_port, sink)
        times = []
        for _ in range(options.rounds):
            times.append(send())
            time.sleep(options.pause)
        return median(times), max(times)


def main() -> None:
    """Measure, print a table, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--queued", type=int, nargs="+", default=[0, 1000, 100_000])
    parser.add_argument("--domains", type=int, default=1, help="how many domains the dead servers have")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between messages")
    parser.add_argument("--kinds", nargs="+", choices=DEAD, default=list(DEAD))
    parser.add_argument("--directory", help="where the databases are made; else where temporary files are")
    options = parser.parse_args()
    grows = False
    print("| dead destination | queued for it | median | longest |\n|---|---|---|---|")
    for kind in options.kinds:
        first: float | None = None
        for queued in options.queued:
            usual, longest = measure(kind, queued, options)
            print(f"| {kind} | {queued:,} | {usual * 1000:.1f} ms | {longest * 1000:.1f} ms |", flush=True)
            first = usual if first is None else first
            grows = grows or usual > first * _TIMES + _NOISE
    sys.exit(grows)


if __name__ == "__main__":
    main()
