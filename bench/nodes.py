"""How much mail is relayed by one, two and three nodes that share a PostgreSQL, beside one that has its own SQLite.

C{python -m bench.nodes [--nodes 1 2 3] [--messages 3000] [--rounds 3] [--directory DIR]}, in the checkout. Messages of
4 KiB come over 20 sessions in all, are queued, and go on to one C{smtp-sink}; the time runs until the last one has
arrived. Everything is on this machine: what more nodes bring, they take from the same processors.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import attrs

from bench.load import Load, send
from bench.processes import Sink, await_port, cpu_seconds
from tests.peers.server import TWISTD, Server, free_port
from tests.postgres import running

_SESSIONS = 20
#: As where mail matters.
_DURABLE = "fsync = on\nfull_page_writes = on\nautovacuum = on\n"
_CONFIG = """
hostname = "{name}.example"
whitelist = {{ hosts = ["hostmeister.de"], users = ["user1"] }}
relay = {{ networks = ["127.0.0.0/8"] }}
routes = {{ "*" = {{ to = "smtp:127.0.0.1:{sink}" }} }}
{queue}
[[listen]]
endpoint = "tcp:{port}:interface=127.0.0.1"
"""


@attrs.frozen
class Figures:
    """Of one round: messages a second, and seconds of processor time for each, of all nodes and of the database."""

    rate: float
    nodes: float
    database: float


def start(home: Path, name: str, queue: str, sink: int, stack: ExitStack) -> tuple[int, int]:
    """A node; its port and its process."""
    port = free_port()
    (home / name).mkdir()
    config = home / name / "mailagent.toml"
    config.write_text(_CONFIG.format(name=name, sink=sink, port=port, queue=queue))
    server = Server([str(TWISTD), "-n", "--pidfile=", "--logfile=log", "mailagent"], home / name)
    stack.callback(server.end)
    await_port(port)
    return port, server.pid


def measure(nodes: int, shared: bool, messages: int, directory: str | None) -> Figures:
    """One round, on databases that are new."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        home.chmod(0o755)
        sink = Sink(home)
        stack.callback(sink.end)
        queue, database = "", []
        if shared:
            postgres = stack.enter_context(running(_DURABLE))
            queue = f'queue = {{ url = "{postgres.url(postgres.database()).render_as_string()}" }}'
            database = [postgres.pid]
        started = [start(home, f"mx{number}", queue, sink.port, stack) for number in range(1, nodes + 1)]
        return _measured(sink, [port for port, _ in started], [pid for _, pid in started], database, messages)


def _measured(
    sink: Sink, ports: Sequence[int], nodes: Sequence[int], database: Sequence[int], messages: int
) -> Figures:
    share = messages // len(ports)
    load = Load(share, sessions=_SESSIONS // len(ports), remote=True)
    before = [sum(map(cpu_seconds, processes)) for processes in (nodes, database)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(ports)) as threads:
        list(threads.map(partial(send, load), ports))
    total = share * len(ports)
    sink.wait_for(total)
    seconds = time.perf_counter() - begun
    used = [sum(map(cpu_seconds, processes)) for processes in (nodes, database)]
    return Figures(total / seconds, *((now - then) / total for now, then in zip(used, before, strict=True)))


def main() -> None:
    """Measure, in turn, and print a table of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", help="where nodes keep their state; else where temporary files are")
    options = parser.parse_args()
    kinds = {"1, SQLite": (1, False)} | {f"{nodes}, PostgreSQL": (nodes, True) for nodes in options.nodes}
    found: dict[str, list[Figures]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name, (nodes, shared) in kinds.items():
            found[name].append(measure(nodes, shared, options.messages, options.directory))
    print("| nodes | messages/s | CPU of the nodes, ms/message | of the database |\n|---|---|---|---|")
    for name, rounds in found.items():
        rate, own, database = (median(getattr(each, what) for each in rounds) for what in ("rate", "nodes", "database"))
        print(f"| {name} | {rate:.0f} | {own * 1000:.2f} | {database * 1000:.2f} |")


if __name__ == "__main__":
    main()
