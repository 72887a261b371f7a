"""The works of mailagent alone: what idle connections and a long queue cost, and how costs grow with what there is."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import idle_connections, queue_cost
from bench.figures import Aim, Result
from bench.load import Load, send
from bench.processes import cpu_seconds
from bench.servers import MOST_RECIPIENTS, USER, Running, mailagent
from bench.works import driven
from mailagent.database.engine import database_url

#: How many times as much a unit may cost at the end of a table as at its beginning: noise, and nothing that grows.
LINEAR = 1.5
_ROUNDS = 3
#: More messages than this are measured but once.
_MANY = 1000


@contextmanager
def alone(options: argparse.Namespace, root: Path) -> Iterator[Running]:
    """mailagent, started for the block, and warm."""
    with tempfile.TemporaryDirectory(dir=root) as home, ExitStack() as stack:
        server = mailagent(Path(home), stack, "\n".join(options.setting))
        driven(server, Load(100))
        yield server


def idle(options: argparse.Namespace, root: Path) -> Result:
    """Resident memory of a connection that says nothing."""
    idle_connections.allow_connections(options.most)
    with tempfile.TemporaryDirectory(dir=root) as home:
        each = idle_connections.measure(Path(home), options.most, ehlo=False, tls=False)
    aim = Aim("octets for each", idle_connections.ALLOWED, each, at_least=False)
    return Result("idle", "Idle connections", [{"connections": options.most, "octets for each": each}], [aim])


def queued(options: argparse.Namespace, root: Path) -> Result:
    """What the queue's steps cost, however much waits in it."""
    rows = []
    for number in decades(1000, options.most):
        with tempfile.TemporaryDirectory(dir=root) as home:
            steps = queue_cost.Bench(database_url("sqlite:///queue.db", home), number).run(50)
        rows.append({"queued": float(number)} | {f"{step}, ms": seconds * 1000 for step, seconds in steps.items()})
    aims = [grown(f"{step}, last line to the cheapest", rows, f"{step}, ms") for step in ("claim", "start")]
    return Result("queued", "Queued recipients", rows, aims)


def by_messages(options: argparse.Namespace, root: Path) -> Result:
    """The more messages, each at the same cost."""
    with alone(options, root) as server:
        rows = [cost(server, Load(number), "messages", number, "message") for number in decades(10, options.most)]
    return growth("growth-messages", rows, "message")


def by_size(options: argparse.Namespace, root: Path) -> Result:
    """The more octets, each at the same cost, beyond what a message costs in itself."""
    with alone(options, root) as server:
        loads = [Load(max(20, 10_000_000 // size), size) for size in decades(10_000, 10_000_000)]
        rows = [cost(server, load, "octets", load.size, "MB", load.size / 1e6) for load in loads]
    return growth("growth-size", rows, "MB")


def by_recipients(options: argparse.Namespace, root: Path) -> Result:
    """The more recipients, each at the same cost."""
    with alone(options, root) as server:
        loads = [Load(1000 // number, recipients=number) for number in decades(1, MOST_RECIPIENTS)]
        rows = [cost(server, load, "recipients", load.recipients, "delivery", load.recipients) for load in loads]
    return growth("growth-recipients", rows, "delivery")


def by_mailbox(options: argparse.Namespace, root: Path) -> Result:
    """However much is in a mailbox, the next message costs the same."""
    rows: list[dict[str, float]] = []
    with alone(options, root) as server:
        for number in decades(10, options.most):
            fill(server.mailboxes / USER / "new", number)
            rows.append(cost(server, Load(500), "files", number, "message"))
    return growth("growth-mailbox", rows, "message")


def decades(first: int, last: int) -> list[int]:
    """C{first}, and each next ten times as many, to C{last}; that one always."""
    found = []
    while first < last:
        found.append(first)
        first *= 10
    return [*found, last]


def fill(directory: Path, number: int) -> None:
    """Have as many messages there, which nobody has read."""
    for each in range(number):
        (directory / f"1700000000.M{each}P1.bench").touch()


def cost(server: Running, load: Load, what: str, number: float, unit: str, units: float = 1) -> dict[str, float]:
    """What a load costs: the cheapest of a few rounds, for growth is in all of them and noise is not.

    @param what: what there is more of from line to line, and C{number} how much of it.
    @param units: how many units a message is.
    """
    rounds = [_sent(server, load) for _ in range(_ROUNDS if load.messages <= _MANY else 1)]
    seconds, cpu = (min(figures) * 1000 / load.messages / units for figures in zip(*rounds, strict=True))
    return {what: number, f"ms/{unit}": seconds, f"CPU, ms/{unit}": cpu}


def _sent(server: Running, load: Load) -> tuple[float, float]:
    """Seconds, and the processor's, until all has been accepted, which is when it is stored."""
    used, begun = cpu_seconds(server.pid), time.perf_counter()
    send(load, server.port)
    return time.perf_counter() - begun, cpu_seconds(server.pid) - used


def growth(name: str, rows: Sequence[Mapping[str, float]], unit: str) -> Result:
    """A table of costs, which should not grow."""
    return Result(
        name,
        f"How cost grows with {TITLES[name]}",
        rows,
        [grown(f"ms/{unit}, last line to the cheapest", rows, f"ms/{unit}")],
    )


def grown(what: str, rows: Sequence[Mapping[str, float]], column: str) -> Aim:
    """That the last line costs no more than the others, which a message's own cost makes dear where there is little."""
    return Aim(what, LINEAR, rows[-1][column] / min(row[column] for row in rows), at_least=False)


TITLES = {
    "growth-messages": "the number of messages",
    "growth-size": "a message's size",
    "growth-recipients": "a message's recipients",
    "growth-mailbox": "the files in a mailbox",
}
WORKS: dict[str, Callable[[argparse.Namespace, Path], Result]] = {
    "idle": idle,
    "queued": queued,
    "growth-messages": by_messages,
    "growth-size": by_size,
    "growth-recipients": by_recipients,
    "growth-mailbox": by_mailbox,
}
