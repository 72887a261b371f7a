"""Power cuts between, and during, the statements of the queue: nothing taken is lost, nothing torn is seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from mailagent.database.reader import Reader
from mailagent.queue.items import FAILED, QUEUED, QueuedItem
from mailagent.queue.queue import reading
from mailagent.queue.store import Store
from tests.crash.disk import Disk
from tests.crash.work import STATES, Cut, Work
from tests.database.support import Database
from tests.maildir.support import run_now
from tests.queue.support import NOW
from tests.queue.test_queue import joined

SHORT_AND_LONG = pytest.mark.parametrize(
    ("seeds", "steps", "torn", "most"),
    [(range(1), 12, 1, 40), pytest.param(range(6), 40, 3, 1_000_000, marks=pytest.mark.torture)],
)


@SHORT_AND_LONG
@pytest.mark.timeout(1800)
def test_what_was_taken_is_there_after_a_power_cut_anywhere(
    tmp_path: Path, seeds: range, steps: int, torn: int, most: int
) -> None:
    for seed in seeds:
        random = Random(seed)
        directory = tmp_path / str(seed)
        directory.mkdir()
        with Database(directory) as database:
            work = Work(database, random)
            cuts = work.run(steps)
        found = {(disk, cut.acknowledged): cut for cut in cuts for disk in cut.now.torn(cut.synced, random, torn)}
        some = random.sample(list(found.items()), min(most, len(found)))
        for (disk, _), cut in some:
            examine(tmp_path / "found", disk, cut, work.sent)


def examine(directory: Path, disk: Disk, cut: Cut, sent: dict[str, bytes]) -> None:
    """Start on what is left, and see that it is what must be."""
    directory.mkdir(exist_ok=True)
    disk.put(directory / "queue.db")
    with Database(directory) as database:
        unsynced(database)
        states = database.rows(STATES)
        assert states in cut.states
        store = Store("here", "mx.example.org")
        database.write(store.start)
        visible = {row[0] for row in states}
        assert cut.acknowledged <= visible
        items = claimed(database, store)
        waiting = sorted((row[0], row[1]) for row in states if row[2] == QUEUED)
        assert sorted((item.message.id, str(each.address)) for item in items for each in item.recipients) == waiting
        reader = Reader(database.reading, run_now)
        for each in {item.message.id: item.message for item in items}.values():
            assert joined(reading(reader, store, each)) == sent[each.id]
        failed = {row[0] for row in states if row[2] == FAILED}
        reports = Counter(row[0].removeprefix("report-") for row in states if row[0].startswith("report-"))
        assert reports == Counter(failed)


def claimed(database: Database, store: Store) -> list[QueuedItem]:
    """All that waits, leased."""
    found: list[QueuedItem] = []
    while some := database.write(store.claim, NOW + 1000, 100, {}, 100):
        found += some
    return found


def unsynced(database: Database) -> None:
    """Sync nothing from here on: it is only looked at."""
    connection = database.engine.raw_connection()
    connection.cursor().execute("PRAGMA synchronous=OFF")
    connection.close()
