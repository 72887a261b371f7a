"""Transactions of clients that have gone silent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import PIPE, Popen
from sys import executable

import psycopg
import pytest
import sqlalchemy as sa

from mailagent.database.engine import for_writing
from mailagent.database.hung import LOOK, end_hung
from mailagent.database.postgresql import IDLE, LOCK, take_time
from tests.database.kinds import only_postgresql
from tests.database.support import Database

pytestmark = [only_postgresql, pytest.mark.usefixtures("kind"), pytest.mark.requires("initdb")]


def ended_by(database: Database, patience: str = "1ms") -> list[str]:
    """The clients that are ended by who has so much patience."""
    engine = for_writing(database.url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SET idle_in_transaction_session_timeout = '{patience}'")
        found = end_hung(connection)
    engine.dispose()
    return found


def ended_at_last(database: Database) -> list[str]:
    """The same, once there is one."""
    while not (found := ended_by(database)):
        pass
    return found


def wait_until(database: Database, condition: str) -> None:
    """Return when the server sees such a client of ours."""
    ours = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while not database.rows(f"{ours} AND {condition}"):
        pass


@contextmanager
def in_the_middle(url: sa.URL, statement: str) -> Iterator[None]:
    """Some statements of many that are sent in one go have arrived, and the rest does not."""
    where = url.render_as_string().replace("+psycopg", "")
    with psycopg.connect(where, application_name="mailagent") as connection:
        connection.execute("SELECT 1")
        with suppress(psycopg.OperationalError), connection.pipeline():
            connection.execute(statement.encode())
            connection.pgconn.send_flush_request()
            connection.pgconn.flush()
            yield
        assert connection.broken


def test_they_end_before_others_are_undone_for_their_sake() -> None:
    assert IDLE + LOOK <= LOCK


INSERT = "INSERT INTO staged VALUES ('m1', 0)"


def test_a_client_that_has_sent_half_of_its_statements(database: Database) -> None:
    with in_the_middle(database.url, INSERT):
        wait_until(database, "wait_event_type = 'Client' AND backend_xid IS NOT NULL AND state = 'active'")
        assert ended_at_last(database) == ["local"]
    assert database.rows("SELECT * FROM staged") == []


_READS_NOTHING = """
import sys, psycopg
connection = psycopg.connect(sys.argv[1], application_name="mailagent")
connection.execute("INSERT INTO staged VALUES ('m1', 0)")
connection.pgconn.send_query(b"SELECT repeat('x', 100000000)")
connection.pgconn.flush()
print("sent", flush=True)
input()
"""


def test_a_client_that_takes_no_answer(database: Database) -> None:
    where = database.url.render_as_string().replace("+psycopg", "")
    with Popen([executable, "-c", _READS_NOTHING, where], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sent\n"
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(database, "wait_event = 'ClientWrite' AND backend_xid IS NOT NULL")
        assert ended_at_last(database) == ["local"]
        process.kill()
    assert database.rows("SELECT * FROM staged") == []


@pytest.mark.parametrize("patience", ["1h", "0"])
def test_a_client_that_is_heard_of_is_left(database: Database, patience: str) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(INSERT)
        assert ended_by(database, patience) == []
    assert database.rows("SELECT count(*) FROM staged") == [1]


def test_one_that_has_locked_nothing_is_left(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
        assert ended_by(database) == []


def test_one_that_may_take_its_time_is_left(database: Database) -> None:
    with database.engine.begin() as connection:
        take_time(connection)
        connection.exec_driver_sql(INSERT)
        assert ended_by(database) == []


@pytest.mark.parametrize("name", ["psql", "mailagents"])
def test_who_is_not_ours_is_left(database: Database, name: str) -> None:
    where = database.url.render_as_string().replace("+psycopg", "")
    with psycopg.connect(where, application_name=name) as connection:
        connection.execute(INSERT.encode())
        assert ended_by(database) == []


def test_one_of_ours_that_the_url_gives_a_name_is_ended(database: Database) -> None:
    other = for_writing(database.url.update_query_dict({"application_name": "mx2"}))
    with other.connect() as connection:
        connection.exec_driver_sql(INSERT)
        assert ended_at_last(database) == ["local"]
        connection.invalidate()
    other.dispose()
