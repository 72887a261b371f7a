"""The works that servers are compared at: side by side, taking turns, until every message has arrived."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from bench.figures import Aim, Result, Row, middle, quantile, ratio
from bench.load import Load, send, times
from bench.observe import peak_memory, syncs
from bench.processes import cpu_seconds
from bench.servers import Running
from tests.peers.server import DEADLINE

OURS, THEIRS = "mailagent", "Postfix"
_LOOK = 0.005


@attrs.frozen
class Work:
    """One kind of work.

    @ivar unit: what is counted, for each second.
    @ivar units: how many of them a message is.
    @ivar faster: how many times as fast as Postfix we want to be.
    @ivar cheaper: the share of Postfix's processor time that we want to use at most.
    @ivar prompt: whether the time of one message is what is compared, and not how many there are.
    """

    name: str
    title: str
    load: Load
    unit: str = "messages/s"
    units: float = 1.0
    faster: float | None = None
    cheaper: float | None = None
    prompt: bool = False


WORKS = [
    Work("new-connection", "4 KiB, 20 sessions, a new connection for each message", Load(3000), faster=3, cheaper=0.5),
    Work("kept-connections", "4 KiB, 20 sessions, connections kept", Load(4000, kept=True), faster=3),
    Work("large", "1 MB messages", Load(300, size=1_000_000), "MB/s", 1.0, faster=2),
    Work("recipients", "50 recipients", Load(100, recipients=50), "deliveries/s", 50, faster=3),
    Work("relay", "Submitted, queued, and sent to a remote sink", Load(3000, remote=True), faster=1.5),
    Work("latency", "One message at a time, on an idle server", Load(200, sessions=1), prompt=True),
]


@attrs.define
class Measured:
    """What one server has shown at one work: a figure of each round, and the looks taken apart from them."""

    server: Running
    rates: list[float] = attrs.field(factory=list)
    cpu: list[float] = attrs.field(factory=list)
    seconds: list[float] = attrs.field(factory=list)
    syncs: float | None = None
    memory: int = 0

    def row(self, work: Work) -> Row:
        """Its line of the table."""
        cpu = middle(self.cpu)
        return {
            "server": f"{self.server.name} {self.server.version}",
            work.unit: middle(self.rates),
            "CPU, ms/message": None if cpu is None or not self.server.all_cpu else cpu * 1000,
            "p50, ms": quantile(self.seconds, 0.5) * 1000,
            "p99, ms": quantile(self.seconds, 0.99) * 1000,
            "fsyncs/message": self.syncs,
            "most memory, MiB": self.memory / 2**20,
        }


def arrived(server: Running, load: Load, before: int) -> None:
    """Return as soon as every message is where it belongs.

    @param before: messages that had come to the sink before these.
    @raise SystemExit: nothing more arrives.
    """
    if load.remote:
        assert server.sink is not None
        server.sink.wait_for(before + load.messages, look=_LOOK)
        return
    wanted, found, end = load.messages * load.recipients, -1, 0.0
    while (now := server.stored(load.recipients)) < wanted:
        if now > found:
            found, end = now, time.monotonic() + DEADLINE
        if time.monotonic() > end:
            raise SystemExit(f"{server.name}: {now} of {wanted} messages have arrived, and no more come")
        time.sleep(_LOOK)


def driven(server: Running, load: Load, drive: Callable[[Load, int], object] = send) -> tuple[float, float]:
    """Have a server do its work, and leave it as it was. @return: seconds, and the processor's."""
    before = server.sink.count if server.sink else 0
    used, begun = cpu_seconds(server.pid), time.perf_counter()
    drive(load, server.port)
    arrived(server, load, before)
    seconds, cpu = time.perf_counter() - begun, cpu_seconds(server.pid) - used
    server.empty()
    return seconds, cpu


def measure(work: Work, measured: Measured, load: Load) -> None:
    """One round."""
    if work.prompt:
        drive = partial(_timed, measured.seconds)
        seconds, cpu = driven(measured.server, load, drive)
    else:
        seconds, cpu = driven(measured.server, load)
    measured.rates.append(load.messages * work.units / seconds)
    measured.cpu.append(cpu / load.messages)


def _timed(found: list[float], load: Load, port: int) -> None:
    found.extend(times(load, port))


def look(work: Work, measured: Measured, load: Load, directory: Path) -> None:
    """What would disturb the rounds: each message's time by our own generator; memory; fsyncs."""
    server = measured.server
    with peak_memory(server.pid) as peak:
        driven(server, load, partial(_timed, [] if work.prompt else measured.seconds))
    measured.memory = peak.octets
    few = attrs.evolve(load, messages=max(1, min(load.messages, 100) // max(1, load.recipients // 10)))
    with syncs(server.pid, directory) as seen:
        driven(server, few)
    measured.syncs = None if seen.count is None else seen.count / few.messages


def compare(work: Work, servers: Sequence[Running], options: argparse.Namespace, directory: Path) -> Result:
    """Have them take turns at a work; each is warmed up before."""
    able = [Measured(server) for server in servers if server.sink or not work.load.remote]
    load = attrs.evolve(work.load, messages=options.messages or work.load.messages)

    def share(measured: Measured, of: int = 1) -> Load:
        return attrs.evolve(load, messages=max(1, int(load.messages * measured.server.pace) // of))

    for measured in able:
        driven(measured.server, share(measured, 10))
    for number in range(options.rounds):
        for measured in able:
            measure(work, measured, share(measured))
            print(f"{work.name} {number + 1}: {measured.server.name} {measured.rates[-1]:.1f} {work.unit}", flush=True)
    for measured in able:
        look(work, measured, share(measured, 2), directory)
    rows = {measured.server.name: measured.row(work) for measured in able}
    return Result(work.name, work.title, list(rows.values()), aims(work, rows), note(able, options))


def aims(work: Work, rows: Mapping[str, Row]) -> list[Aim]:
    """What was wanted of this work and came of it, where both are there to be compared."""
    if OURS not in rows or THEIRS not in rows:
        return []
    wanted = [
        (f"{work.unit}, times Postfix's", work.unit, work.faster, True),
        ("CPU for each message, times Postfix's", "CPU, ms/message", work.cheaper, False),
        ("p50, times Postfix's", "p50, ms", 1.0 if work.prompt else None, False),
    ]
    found = []
    for what, column, aim, at_least in wanted:
        got = ratio(rows[OURS][column], rows[THEIRS][column])
        if aim is not None and got is not None:
            found.append(Aim(what, aim, got, at_least))
    return found


def note(able: Sequence[Measured], options: argparse.Namespace) -> str:
    """How it was measured."""
    rounds = "one round" if options.rounds == 1 else f"{options.rounds} rounds"
    slow = [measured.server.name for measured in able if measured.server.pace < 1]
    less = f" {', '.join(slow)} had fewer messages, being slow." if slow else ""
    return f"Medians of {rounds}, in turn; p50 and p99, memory and fsyncs of rounds of their own.{less}"
