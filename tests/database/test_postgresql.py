"""A connection to PostgreSQL: what it promises, and that nothing hangs it for ever."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mailagent.database import postgresql
from mailagent.database.engine import database_url, for_reading, for_writing
from mailagent.database.trouble import Conflict, DatabaseLost, trouble
from mailagent.interfaces import StorageFailed
from mailagent.queue.store_nodes import LEASE
from tests.database.kinds import only_postgresql
from tests.database.support import Database
from tests.postgres import Postgres, running

pytestmark = [only_postgresql, pytest.mark.usefixtures("kind"), pytest.mark.requires("initdb")]


def setting(engine: sa.Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"SHOW {name}").scalar()


def test_a_commit_is_on_the_servers_disk_whatever_its_default_is(database: Database) -> None:
    name = database.url.database
    database.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database.engine.dispose()
    assert setting(database.engine, "synchronous_commit") == "on"
    database.execute(f"ALTER DATABASE {name} RESET synchronous_commit")


def test_a_statement_has_its_time(database: Database) -> None:
    assert setting(database.engine, "statement_timeout") == "1min"
    assert setting(database.reading, "statement_timeout") == "1min"
    with database.engine.begin() as connection:
        postgresql.take_time(connection)
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "0"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"


def test_who_freezes_with_locks_is_over_before_others_seem_dead(database: Database) -> None:
    assert setting(database.engine, "idle_in_transaction_session_timeout") == f"{postgresql.IDLE}s"
    assert setting(database.engine, "lock_timeout") == f"{postgresql.LOCK}s"
    assert postgresql.IDLE < postgresql.LOCK < postgresql.STATEMENT
    assert postgresql.IDLE + postgresql.LOCK < LEASE - LEASE / 4  # the last heartbeat may be a quarter old


def test_a_lock_that_is_not_given_is_a_conflict(database: Database) -> None:
    hasty = for_writing(database.url.update_query_dict({"options": "-c lock_timeout=1ms"}))
    with database.engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE staged")
        with pytest.raises(Conflict), trouble(), hasty.begin() as connection:
            connection.exec_driver_sql("DELETE FROM staged")
    hasty.dispose()


def test_what_the_url_says_goes_before(database: Database) -> None:
    engine = for_writing(database.url.update_query_dict({"options": "-c statement_timeout=3s", "connect_timeout": "2"}))
    assert setting(engine, "statement_timeout") == "3s"
    engine.dispose()


def test_a_name_in_the_url_comes_after_ours(database: Database) -> None:
    engine = for_writing(database.url.update_query_dict({"application_name": "mx2"}))
    assert setting(engine, "application_name") == "mailagent mx2"
    engine.dispose()


@pytest.mark.parametrize("opened", [for_writing, for_reading])
def test_the_server_finds_out_that_we_are_gone(
    database: Database, postgres: Postgres, opened: Callable[[sa.URL], sa.Engine]
) -> None:
    engine = opened(postgres.url(str(database.url.database), "127.0.0.1"))
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    assert [setting(engine, name) for name in names] == ["30", "10", "3", "60000"]
    engine.dispose()


def test_a_reader_cannot_change_anything(database: Database) -> None:
    with pytest.raises(sa.exc.InternalError, match="read-only"), database.reading.begin() as connection:
        connection.exec_driver_sql("DELETE FROM staged")


def test_what_the_server_says_is_told_without_the_row(database: Database) -> None:
    database.execute("INSERT INTO staged VALUES ('secret', 0)")
    with pytest.raises(StorageFailed, match="staged_pkey") as caught, trouble():
        database.execute("INSERT INTO staged VALUES ('secret', 0)")
    assert "secret" not in str(caught.value)


@pytest.fixture
def frozen(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Connection]:
    """A connection whose server process says nothing more; waited for a moment only."""
    monkeypatch.setattr(postgresql.Bounded, "patience", 0.3)
    with database.engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield connection
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_says_nothing_more_is_given_up(frozen: sa.Connection) -> None:
    with pytest.raises(DatabaseLost, match="no answer"), trouble():
        frozen.exec_driver_sql("SELECT 1")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Postgres]:
    """A server that asks C{ann} for her password."""
    with running("password_encryption = 'scram-sha-256'\n") as server:
        server.execute("CREATE USER ann PASSWORD 'open:sesame'")
        (server.data / "pg_hba.conf").write_text("host all ann 127.0.0.1/32 scram-sha-256\nlocal all mail trust\n")
        server.execute("SELECT pg_reload_conf()")
        yield server


def as_ann(server: Postgres, **query: str) -> sa.URL:
    return server.url("postgres", "127.0.0.1", **query).set(username="ann")


def who(url: sa.URL) -> object:
    """As whom the server knows us."""
    engine = for_reading(url)
    try:
        with trouble(), engine.connect() as connection:
            return connection.exec_driver_sql("SELECT current_user").scalar()
    finally:
        engine.dispose()


def test_a_wrong_password_is_in_no_error(guarded: Postgres) -> None:
    with pytest.raises(StorageFailed, match="authentication failed") as caught:
        who(as_ann(guarded).set(password="wrong-secret"))
    assert "secret" not in str(caught.value)


def test_a_password_can_be_in_a_file_that_the_url_names(guarded: Postgres, tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{guarded.port}:*:ann:open\\:sesame\n")
    file.chmod(0o600)
    assert who(as_ann(guarded, passfile=str(file))) == "ann"


def test_all_can_be_in_a_service_that_the_url_names(
    guarded: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "services"
    lines = ["[mail]", "host=127.0.0.1", f"port={guarded.port}", "user=ann", "password=open:sesame", "dbname=postgres"]
    file.write_text("\n".join(lines))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    assert who(database_url("postgresql+psycopg://?service=mail", "/state")) == "ann"


def test_a_server_that_is_not_there_is_trouble(postgres: Postgres) -> None:
    engine = for_writing(postgres.url("nowhere"))
    with pytest.raises(StorageFailed, match="nowhere"), trouble():
        engine.connect()
