"""The only one at work on a database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailagent.database.trouble import DatabaseLost
from mailagent.queue import alone as module
from mailagent.queue.alone import Taken, alone
from tests.database.kinds import only_postgresql, only_sqlite
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
        with pytest.raises(DatabaseLost), connection.begin():
            connection.exec_driver_sql("DELETE FROM staged")
    with alone(database.engine) as connection, connection.begin():
        connection.exec_driver_sql("DELETE FROM staged")


@only_sqlite
def test_the_lock_can_be_taken_by_whom_the_database_belongs_to(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr("os.fchown", lambda fd, *owner: given.append((os.readlink(f"/proc/self/fd/{fd}"), *owner)))
    file = str(database.url.database)
    owner = os.stat(file)
    for _ in range(2):
        with alone(database.engine):
            assert given == [(f"{file}-moving", owner.st_uid, owner.st_gid)]


@only_sqlite
def test_who_may_give_nothing_away_has_a_lock_of_his_own(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.fchown", refuse)
    with alone(database.engine):
        assert os.path.exists(f"{database.url.database}-moving")


@only_sqlite
def test_no_link_is_followed_to_the_lock(database: Database, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    os.symlink(tmp_path / "other", f"{database.url.database}-moving")
    with pytest.raises(OSError, match="symbolic link"), alone(database.engine):
        pytest.fail("followed")
