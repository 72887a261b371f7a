"""Looking into the database, in threads."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from twisted.trial.unittest import SynchronousTestCase

from mailagent.database.reader import Reader
from mailagent.interfaces import StorageFailed
from tests.database.support import Database
from tests.maildir.support import Threads, run_now


def test_a_look_runs_in_a_thread(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        threads = Threads()
        looked = Reader(database.reading, threads.run).run(
            lambda connection: connection.scalar(sa.text("SELECT count(*) FROM staged"))
        )
        assert not looked.called
        threads.finish()
        assert SynchronousTestCase().successResultOf(looked) == 0


def test_a_look_that_writes_fails(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        looked = Reader(database.reading, run_now).run(
            lambda connection: connection.exec_driver_sql("DELETE FROM staged").rowcount
        )
        SynchronousTestCase().failureResultOf(looked, StorageFailed)
