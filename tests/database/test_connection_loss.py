"""What is done, and done again, when the connection to a real PostgreSQL breaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from mailagent.database.reader import Reader
from mailagent.database.trouble import DatabaseLost
from mailagent.database.writer import Writer
from tests.database.kinds import only_postgresql
from tests.database.support import Caller, Database
from tests.maildir.support import run_now
from tests.postgres import Postgres

_COUNT = "SELECT count(*) FROM staged"


class Insertion:
    """A job that leaves a row, and has something happen the first time that it is done."""

    def __init__(self, happens: str | None = None) -> None:
        self.happens = happens
        self.done = 0

    def __call__(self, connection: sa.Connection) -> int:
        connection.exec_driver_sql("INSERT INTO staged VALUES ('m', 0)")
        self.done += 1
        if self.happens is not None and self.done == 1:
            connection.exec_driver_sql(self.happens)
        return self.done


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    writer = Writer(database.engine, Caller())
    writer.start()
    yield writer
    writer.stop()


@only_postgresql
@pytest.mark.parametrize(
    "happens",
    ["SELECT pg_terminate_backend(pg_backend_pid())", "DO $$ BEGIN RAISE 'once more' USING ERRCODE = '40001'; END $$"],
    ids=["the connection breaks", "another's transaction stands in the way"],
)
def test_what_was_undone_ahead_of_the_commit_is_done_again(database: Database, writer: Writer, happens: str) -> None:
    assert writer.call(Insertion(happens)) == 2
    assert database.rows(_COUNT) == [1]


@only_postgresql
def test_a_server_that_has_become_a_standby_is_left_for_the_one_there_is_now(
    database: Database, writer: Writer
) -> None:
    writer.call(lambda connection: connection.exec_driver_sql("SET default_transaction_read_only = on"))
    assert writer.call(Insertion()) == 1
    assert database.rows(_COUNT) == [1]


@only_postgresql
def test_what_is_undone_again_and_again_fails(database: Database, writer: Writer) -> None:
    with pytest.raises(DatabaseLost):
        writer.call(lambda connection: connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert writer.call(Insertion()) == 1


@only_postgresql
def test_a_commit_without_an_answer_fails_and_is_not_done_again(
    database: Database, writer: Writer, postgres: Postgres
) -> None:
    job = Insertion()

    @event.listens_for(database.engine, "commit", once=True)
    def _(connection: sa.Connection) -> None:
        postgres.cut(str(database.url.database))

    with pytest.raises(DatabaseLost):
        writer.call(job)
    assert job.done == 1
    assert writer.call(Insertion()) == 1


@only_postgresql
def test_a_look_whose_connection_has_broken_since_the_last_one_is_not_troubled(
    database: Database, postgres: Postgres
) -> None:
    reader = Reader(database.reading, run_now)

    def count(connection: sa.Connection) -> object:
        return connection.scalar(sa.text(_COUNT))

    assert reader.call(count) == 0
    assert postgres.cut(str(database.url.database)) > 0
    assert reader.call(count) == 0
