"""Mixed mail for a long time, and nothing of it lost, and nothing that grows: C{python -m bench.soak --minutes 30}.

Every ten seconds memory, descriptors and threads of each process are looked at. In the end every message that was
acknowledged must be in its mailbox, or at the sink, or have come back; and what the processes hold must not have grown
from the middle third of the time to the last. Exit status 1: it is not so.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from random import SystemRandom

from bench.processes import await_port
from bench.servers import HOST
from bench.traffic import DEAD, USERS, Doors, Traffic
from bench.watch import HEADING, Watch
from tests.peers.server import TWISTD, Server, free_port
from tests.peers.sinks import sink
from tests.peers.test_submission import mailagent
from tests.smtp.certificates import write_pair

LOGIN = ("user1", "correct horse battery")
#: Seconds between looks; and at most until the queue is empty in the end.
_LOOK, _LAST = 10.0, 300.0
_CONFIG = """
hostname = "soak.example"
workers = {workers}
whitelist = {{ hosts = ["{host}"], users = {users} }}
tls = {{ certificate = "{certificate}", key = "{key}" }}
directory = {{ users = "users" }}
relay = {{ networks = ["127.0.0.0/8"], resolver = "127.0.0.1:1" }}
limits = {{ sessions_per_network = 1000 }}
queue = {{ retry_first = "10 s", retry_most = "20 s", give_up = "1 min" }}
routes = {{ "{dead}" = {{ to = "smtp:127.0.0.1:{nobody}" }}, "*" = {{ to = "smtp:127.0.0.1:{sink}" }} }}
[[listen]]
endpoint = "tcp:{mx}:interface=127.0.0.1"
[[listen]]
endpoint = "tcp:{submission}:interface=127.0.0.1"
role = "submission"
"""
_NUMBER = re.compile(rb"^X-Number: (\d+)\r?$", re.MULTILINE)


def start(home: Path, workers: int, sink_port: int, stack: ExitStack) -> tuple[Server, Doors]:
    """The server, its log in a file."""
    pair = write_pair(home, "localhost")
    doors = Doors(free_port(), free_port(), LOGIN)
    text = _CONFIG.format(
        host=HOST,
        users=USERS,
        workers=workers,
        certificate=pair.certificate,
        key=pair.key,
        dead=DEAD,
        nobody=free_port(),
        sink=sink_port,
        mx=doors.mx,
        submission=doors.submission,
    )
    (home / "mailagent.toml").write_text(text)
    name, password = LOGIN
    mailagent(home, "user", "add", name, password=f"{password}\n")
    server = Server([str(TWISTD), "-n", "--pidfile=", "--logfile=log", "mailagent", "--log-format", "json"], home)
    stack.callback(server.end)
    for port in (doors.mx, doors.submission):
        await_port(port)
    return server, doors


def await_empty(database: Path) -> int:
    """How much is left in the queue, as soon as that is nothing, or it has had its time."""
    end = time.monotonic() + _LAST
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        while True:
            (left,) = connection.execute("SELECT count(*) FROM recipients WHERE state = 'queued'").fetchone()
            if not left or time.monotonic() > end:
                return int(left)
            time.sleep(0.5)


def found(files: Iterable[Path]) -> tuple[Counter[int], int]:
    """How many copies there are of each message, by its number; and how many are torn. A report counts for the message
    that it returns."""
    copies: Counter[int] = Counter()
    torn = 0
    for path in files:
        octets = path.read_bytes()
        number = _NUMBER.search(octets)
        if number is None:
            torn += 1
            continue
        copies[int(number[1])] += 1
        report = octets.startswith(b"Return-Path: <>\n") and b"multipart/report" in octets[:4096]
        torn += not (report or octets.rstrip().endswith(b"\nend " + number[1]))
    return copies, torn


def compared(traffic: Traffic, home: Path, captured: Path) -> list[str]:
    """Print what was sent and what was found, and return what is wrong."""
    here, torn_here = found(home.glob("mailboxes/*/new/*"))
    there, torn_there = found(captured.iterdir())
    missing = {
        "mailboxes": traffic.local - here.keys(),
        "sink": traffic.relayed - there.keys(),
        "reports": traffic.dead - here.keys(),
    }
    told = traffic.local | traffic.relayed | traffic.dead
    twice = sum(times - 1 for times in there.values())
    print(
        f"acknowledged: {len(traffic.local)} local, {len(traffic.relayed)} relayed, {len(traffic.dead)} for nobody; "
        f"{len(traffic.unsure)} unsure; of these {len((here.keys() | there.keys()) & traffic.unsure)} arrived; "
        f"{twice} twice at the sink; torn: {torn_here + torn_there}"
    )
    wrong = [f"{len(numbers)} are missing in {where}: {sorted(numbers)[:10]}" for where, numbers in missing.items()]
    unasked = (here.keys() | there.keys()) - told - traffic.unsure
    wrong = [each for each in wrong if not each.startswith("0 ")]
    return (
        wrong
        + [f"{torn_here + torn_there} are torn"] * bool(torn_here + torn_there)
        + [f"{len(unasked)} arrived that were neither acknowledged nor unsure"] * bool(unasked)
    )


def soak(options: argparse.Namespace, home: Path, stack: ExitStack) -> list[str]:
    """Do it, and return what is wrong."""
    sink_port, captured = free_port(), home / "captured"
    stack.enter_context(sink("127.0.0.1", sink_port, captured=captured))
    server, doors = start(home, options.workers, sink_port, stack)
    seed = SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(
        f"seed {seed}, {options.minutes:g} minutes, {options.rate:g} messages/s, {options.workers} workers", flush=True
    )
    traffic = Traffic(doors, options.rate, seed)
    time.sleep(2)  # all workers are there
    watch = Watch(server.pid)
    with watch.looking(_LOOK if options.minutes >= 2 else options.minutes * 60 / 12):
        time.sleep(options.minutes * 60)
    traffic.end()
    left = await_empty(home / "state" / "queue.db")
    server.stop()
    print(dict(traffic.manners), f"trouble: {len(traffic.refused)}", *traffic.refused[:5], sep="\n  ")
    wrong = compared(traffic, home, captured)
    lines = watch.lines()
    print(HEADING, *lines, sep="\n")
    wrong += [f"{left} are still queued"] * bool(left) + ["processes came or went"] * watch.changed
    wrong += [f"{len(traffic.refused)} sessions had trouble"] * bool(traffic.refused)
    return wrong + [f"{line.process}: {line.what} grows" for line in lines if line.grows]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=30, help="messages a second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--directory", help="where mail and queue are, for the time; else the system's for such")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as home, ExitStack() as stack:
        os.chmod(home, 0o755)  # the sink is another user
        wrong = soak(options, Path(home), stack)
    sys.exit("; ".join(wrong) or None)


if __name__ == "__main__":
    main()
