"""A command's transactions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mailagent.database.transaction import TRIES, transact
from mailagent.database.trouble import Conflict, trouble
from tests.database.kinds import only_postgresql
from tests.database.support import Database


class Undone:
    """A job that leaves a row, and that another transaction has undone so many times."""

    def __init__(self, times: int, code: str = "40001") -> None:
        self.left, self.done = times, 0
        self.undo = f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"

    def __call__(self, connection: sa.Connection) -> str:
        connection.exec_driver_sql("INSERT INTO staged VALUES ('m', 0)")
        self.done += 1
        if self.done <= self.left:
            connection.exec_driver_sql(self.undo)
        return "done"


def test_it_is_committed_when_its_result_is_known(database: Database) -> None:
    with database.engine.connect() as connection:
        assert transact(connection, Undone(0)) == "done"
        assert database.rows("SELECT count(*) FROM staged") == [1]


@only_postgresql
@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
def test_what_another_transaction_undid_is_done_again(database: Database, code: str) -> None:
    with database.engine.connect() as connection:
        assert transact(connection, Undone(TRIES - 1, code)) == "done"
    assert database.rows("SELECT count(*) FROM staged") == [1]


@only_postgresql
def test_what_is_undone_again_and_again_fails(database: Database) -> None:
    job = Undone(99)
    with database.engine.connect() as connection, pytest.raises(Conflict), trouble():
        transact(connection, job)
    assert (job.done, database.rows("SELECT count(*) FROM staged")) == (TRIES, [0])


@pytest.mark.parametrize("error", [LookupError("not this one"), KeyboardInterrupt()])
def test_nothing_stays_of_a_job_that_fails(database: Database, error: BaseException) -> None:
    def job(connection: sa.Connection) -> None:
        Undone(0)(connection)
        raise error

    with database.engine.connect() as connection, pytest.raises(type(error)):
        transact(connection, job)
    assert database.rows("SELECT count(*) FROM staged") == [0]
