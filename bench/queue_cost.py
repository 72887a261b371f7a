"""What the queue's steps cost, however much waits: put in, claim, settle, and the start.

C{python -m bench.queue_cost [--queued 1 1000 100000 1000000] [--rounds 200] [--directory DIR] [--url URL]}, in the
checkout. Half of what waits is due now for a single destination; the rest is spread over a thousand, and not due. Each
step is one transaction of its own with one message, the median of all rounds; the synchronisation of the disk is in it,
so the directory should be on the disk in question. C{--url} names a database that is there and may be emptied, such as
one of a PostgreSQL (C{postgresql+psycopg://…}); else there is a new SQLite file for each number.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TypeVar

import sqlalchemy as sa

from mailagent.database.engine import database_url, for_writing
from mailagent.database.migration import migrate
from mailagent.database.schema import metadata
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import DELIVERED, QUEUED, QueuedItem, Settlement
from mailagent.queue.store import Store

STEPS = ("enqueue", "claim", "settle: deferred", "settle: delivered", "next_ready", "start")
_BATCH = 1000
_BODY = b"x" * 4096
_ME = Address("me", "bench.example")
_T = TypeVar("_T")


def message(name: str, destination: str) -> QueuedMessage:
    return QueuedMessage(name, Envelope(_ME, (Address("you", destination),), len(_BODY)), b"Received: bench\n", _ME)


class Bench:
    """One database with so much in it, and the time that each step took there."""

    def __init__(self, url: sa.URL, queued: int) -> None:
        self._url = url
        self._engine = for_writing(self._url)
        self._store = Store("bench")
        self._times: dict[str, list[float]] = defaultdict(list)
        self._now = time.time()
        migrate(self._engine)
        self._empty()
        self._write(self._store.start)
        self._fill(queued)
        if self._engine.dialect.name == "postgresql":  # as the server does by itself within a minute
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql("VACUUM ANALYZE")
            self._engine.dispose()

    def run(self, rounds: int) -> dict[str, float]:
        """The median of each step, in seconds."""
        for number in range(rounds):
            queued = message(f"new{number}", "busy.example")
            self._timed("enqueue", self._insertion([queued], self._now))
            item = self._claim()
            self._settle("settle: deferred", item, Reply(451), QUEUED)
            item = self._claim()
            self._settle("settle: delivered", item, Reply(250), DELIVERED)
            self._timed("next_ready", partial(self._store.next_ready, now=self._now))
        for _ in range(min(rounds, 20)):
            self._start()
        self._engine.dispose()
        return {step: median(self._times[step]) for step in STEPS}

    def _empty(self) -> None:
        for name in ("chunks", "staged", "messages", "destinations"):
            self._write(partial(sa.Connection.execute, statement=sa.delete(metadata.tables[name])))

    def _fill(self, queued: int) -> None:
        """Put messages in, in batches; all but the busy destination's are due in an hour."""
        for start in range(0, queued, _BATCH):
            numbers = range(start, min(start + _BATCH, queued))
            busy = [message(f"m{number}", "busy.example") for number in numbers if number % 2 == 0]
            quiet = [message(f"m{number}", f"quiet{number // 2 % 1000}.example") for number in numbers if number % 2]
            for messages, due in ((busy, self._now), (quiet, self._now + 3600)):
                if messages:
                    self._write(self._insertion(messages, due))

    def _insertion(self, messages: Sequence[QueuedMessage], due: float) -> Callable[[sa.Connection], None]:
        return partial(self._store.insert, messages=messages, body=_BODY, now=due)

    def _claim(self) -> QueuedItem:
        [item] = self._timed("claim", lambda c: self._store.claim(c, self._now, 1))
        return item

    def _settle(self, step: str, item: QueuedItem, reply: Reply, state: str) -> None:
        due = self._now if state == QUEUED else None
        hop = Hop("mx.busy.example", "192.0.2.1", "TLSv1.3")
        settlements = [Settlement(each, Outcome(each.address, reply, hop), state, due) for each in item.recipients]
        assert self._timed(step, lambda c: self._store.settle(c, item, settlements, [], self._now, 1.0))

    def _start(self) -> None:
        """All that a daemon does with the queue before it serves."""
        self._engine.dispose()
        begun = time.perf_counter()
        self._engine = for_writing(self._url)
        migrate(self._engine)
        self._write(Store("bench").start)
        self._times["start"].append(time.perf_counter() - begun)

    def _timed(self, step: str, job: Callable[[sa.Connection], _T]) -> _T:
        begun = time.perf_counter()
        result = self._write(job)
        self._times[step].append(time.perf_counter() - begun)
        return result

    def _write(self, job: Callable[[sa.Connection], _T]) -> _T:
        with self._engine.begin() as connection:
            return job(connection)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--queued", type=int, nargs="+", default=[1, 1000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--directory", help="where the databases are made; else where temporary files are")
    parser.add_argument("--url", help="a database that may be emptied, instead")
    options = parser.parse_args()
    print("| queued | " + " | ".join(STEPS) + " |")
    print("|---" * (len(STEPS) + 1) + "|")
    for queued in options.queued:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            url = database_url(options.url or "sqlite:///queue.db", directory)
            times = Bench(url, queued).run(options.rounds)
        print(f"| {queued:,} | " + " | ".join(f"{times[step] * 1000:.2f} ms" for step in STEPS) + " |", flush=True)


if __name__ == "__main__":
    main()
