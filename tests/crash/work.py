"""Work of a queue in a database, and the disk as it was at each boundary between two of its statements.

The database's cache is so small that statements write to the disk before their transaction ends, and it is
checkpointed often: what is rare otherwise happens all the time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy import event

from mailagent.envelope.queued import QueuedMessage
from mailagent.queue.items import DELIVERED, FAILED, QueuedItem
from mailagent.queue.queue import Queue
from mailagent.queue.store import Store
from mailagent.queue.store_insert import CHUNK
from tests.crash.disk import Disk
from tests.database.support import Caller, Database, InlineWriter
from tests.queue.support import ANN, NEVER, NOW, STORED, all_as, deferred, message

_T = TypeVar("_T")
#: What can be told from outside: who is in which state, after how many attempts.
STATES = "SELECT message_id, address, state, attempts, due, delay_told FROM recipients ORDER BY id"
#: Domains of recipients.
_DOMAINS = ("x.example", "y.example", "z.example")


@attrs.frozen
class Cut:
    """The power goes here.

    @ivar synced: the disk as it certainly was.
    @ivar now: with all that was written since.
    @ivar states: those that may be found: of the last transaction, or also of the one that is being committed.
    @ivar acknowledged: the messages that had been taken.
    """

    synced: Disk
    now: Disk
    states: tuple[list[Any], ...]
    acknowledged: frozenset[str]


class RecordingWriter(InlineWriter):
    """A writer that tells of the end of each transaction."""

    def __init__(self, engine: sa.Engine, committed: Callable[[], None]) -> None:
        super().__init__(engine)
        self._committed = committed

    def call(self, job: Callable[[sa.Connection], _T]) -> _T:
        result = super().call(job)
        self._committed()
        return result


class Work:
    """Steps that C{random} chooses.

    @ivar cuts: where the power may have gone so far.
    @ivar sent: the octets of each message that there may be.
    """

    def __init__(self, database: Database, random: Random) -> None:
        self.cuts: list[Cut] = []
        self.sent: dict[str, bytes] = {}
        self._file = Path(str(database.url.database))
        self._database = database
        self._random = random
        self._acknowledged: set[str] = set()
        self._leased: list[QueuedItem] = []
        event.listen(database.engine, "connect", _hurried)
        event.listen(database.engine, "before_cursor_execute", self._statement)
        event.listen(database.engine, "commit", lambda _: self._boundary())
        database.engine.dispose()
        database.writer = RecordingWriter(database.engine, self._committed)
        self._synced, self._states = Disk.of(self._file), database.rows(STATES)
        self._store = Store("here", "mx.example.org")
        self._queue = Queue(database.writer, self._store, lambda: NOW, Caller(), lambda: None)
        database.write(self._store.start)

    def run(self, steps: int) -> list[Cut]:
        """Do so much; where the power may have gone, each disk once."""
        for number in range(steps):
            self._random.choice((self._small, self._small, self._large, self._claim, self._claim, self._settle))(number)
        return list({(cut.now, cut.synced, cut.acknowledged): cut for cut in self.cuts}.values())

    def _statement(self, *_: object) -> None:
        self._boundary()

    def _boundary(self) -> None:
        self.cuts.append(Cut(self._synced, Disk.of(self._file), (self._states,), frozenset(self._acknowledged)))

    def _committed(self) -> None:
        """A transaction has ended: from here on its states are the only ones, and while it did they may have been."""
        old, before = self._states, self._synced
        self._synced, self._states = Disk.of(self._file), self._database.rows(STATES)
        taken = frozenset(self._acknowledged)
        self.cuts.append(Cut(before, self._synced, (old, self._states), taken))
        self.cuts.append(Cut(self._synced, self._synced, (self._states,), taken))

    def _small(self, number: int) -> None:
        self._enqueue(number, [b"small %d\n" % number])

    def _large(self, number: int) -> None:
        self._enqueue(number, [b"large %d\n" % number * 8, self._random.randbytes(CHUNK + 5000)])

    def _enqueue(self, number: int, content: list[bytes]) -> None:
        there = self._random.sample(_DOMAINS, 2)
        messages = [message(f"{number}-{part}", f"a@{domain}", f"b@{domain}") for part, domain in enumerate(there)]
        self.sent.update((each.id, each.header + b"".join(content)) for each in messages)
        self._queue.enqueue(messages, lambda: iter(content))
        self._acknowledged.update(each.id for each in messages)

    def _claim(self, _: int) -> None:
        self._leased += self._database.write(self._store.claim, NOW + 1, 2)

    def _settle(self, number: int) -> None:
        if not self._leased:
            return
        item = self._leased.pop(0)
        settled: list[Any] = self._random.choice(
            [all_as(item, STORED, DELIVERED), deferred(item, NOW), all_as(item, NEVER, FAILED), []]
        )
        if not settled:
            self._database.write(self._store.release, item)
            return
        reports = [self._report(item, number)] if settled[0].state == FAILED else []
        self._database.write(self._store.settle, item, settled, reports, NOW, 1.0)

    def _report(self, item: QueuedItem, number: int) -> tuple[QueuedMessage, bytes]:
        """A bounce, whose id tells of what."""
        report = message(f"report-{item.message.id}", str(ANN))
        content = b"%d failed\n" % number
        self.sent[report.id] = report.header + content
        return report, content


def _hurried(connection: Any, _: object) -> None:
    for setting in ("cache_size=4", "cache_spill=4", "wal_autocheckpoint=40"):
        connection.execute(f"PRAGMA {setting}")
