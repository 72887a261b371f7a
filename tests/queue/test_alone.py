"""The only one at work on a database."""

from __future__ import annotations

import pytest

from mailagent.queue import alone as module
from mailagent.queue.alone import Taken, alone
from tests.database.kinds import only_postgresql
from tests.database.support import Database


def test_there_is_one_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone(database.engine):
        monkeypatch.setattr(module, "_WAIT", 1)
        with pytest.raises(Taken), alone(database.engine):
            pytest.fail("two at once")
        database.execute("DELETE FROM staged")
    monkeypatch.undo()
    with alone(database.engine) as connection, connection.begin():
        connection.exec_driver_sql("DELETE FROM staged")


@only_postgresql
def test_who_has_lost_the_lock_can_do_nothing_more(database: Database) -> None:
    with alone(database.engine) as connection:
        [number] = database.rows("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")
        database.execute(f"SELECT pg_terminate_backend({number}, 10000)")
        with pytest.raises(Exception, match="terminat"), connection.begin():
            connection.exec_driver_sql("DELETE FROM staged")
