"""What honest clients notice of hostile ones: the time of their messages during each attack, beside that without."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.alone import alone
from bench.attacks import ATTACKS
from bench.figures import Aim, Result, Row, quantile
from bench.load import Load, times
from bench.observe import memory
from bench.servers import Running
from tests.peers.server import ROOT, environment

#: How many times as long a message may take at most, compared with quiet (p99).
PATIENCE = 2.0
_NOTE = "Attackers run at low priority, on loopback, where sessions are not limited per network."
_MESSAGES = 300
_BEGUN = 2.0  # seconds until an attack is in full swing


def measure(options: argparse.Namespace, root: Path) -> Result:
    """One honest client that sends message after message, before and during each attack."""
    load = Load(options.messages or _MESSAGES, sessions=1)
    with alone(options, root) as server:
        rows = [_attacked(server, name, load) for name in ATTACKS]
    worst = max(float(row["times quiet p99"] or 0) for row in rows)
    aim = Aim("the worst p99, times quiet", PATIENCE, worst, at_least=False)
    return Result("hostile", "Honest clients while others attack", rows, [aim], _NOTE)


def _attacked(server: Running, name: str, load: Load) -> Row:
    quiet = times(load, server.port)
    with attack(name, server.port) as attacker:
        during = times(load, server.port)
        used = memory(server.pid)
        if attacker.poll() is not None:
            raise SystemExit(f"the attack {name!r} has ended by itself: {attacker.returncode}")
    server.empty()
    before, while_attacked = quantile(quiet, 0.99), quantile(during, 0.99)
    print(f"{name}: p99 {before * 1000:.1f} ms, attacked {while_attacked * 1000:.1f} ms", flush=True)
    return {
        "attack": name,
        "quiet p50, ms": quantile(quiet, 0.5) * 1000,
        "p50, ms": quantile(during, 0.5) * 1000,
        "quiet p99, ms": before * 1000,
        "p99, ms": while_attacked * 1000,
        "times quiet p99": while_attacked / before,
        "memory, MiB": used / 2**20,
    }


@contextmanager
def attack(name: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An attack, in full swing, for the block."""
    command = [sys.executable, "-m", "bench.attacks", name, str(port)]
    attacker = subprocess.Popen(command, cwd=ROOT, env=environment())
    try:
        time.sleep(_BEGUN)
        yield attacker
    finally:
        attacker.kill()
        attacker.wait()
