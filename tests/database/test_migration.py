"""From one version's tables to the next's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from mailagent.database import migration, migrations
from mailagent.database.engine import database_url, for_reading, for_writing, shown
from mailagent.database.migration import WrongVersion, check, migrate
from mailagent.database.moment import database_now
from mailagent.database.schema import VERSION, metadata, nodes
from tests.database.support import Database
from tests.postgres import Postgres


def test_the_migrations_make_the_tables_that_the_schema_names(database: Database) -> None:
    with database.reading.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_indexes_have_the_conditions_that_the_schema_names(tmp_path: Path) -> None:
    statement = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    (tmp_path / "direct").mkdir()
    direct = for_writing(database_url("sqlite:///q.db", str(tmp_path / "direct")))
    metadata.create_all(direct)
    with direct.begin() as connection, Database(tmp_path) as database:
        assert database.rows(statement) == list(map(tuple, connection.exec_driver_sql(statement)))
    direct.dispose()


def test_the_newest_migration_is_the_version(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [VERSION]


def test_a_second_migration_changes_nothing(database: Database) -> None:
    database.execute("INSERT INTO staged VALUES ('m', 0)")
    migrate(database.engine)
    assert database.rows("SELECT message_id FROM staged") == ["m"]
    database.read(check)


def test_a_database_of_a_newer_version_is_left_alone(database: Database) -> None:
    oldest = database.rows("SELECT oldest FROM compatibility")
    contract(database, "9999")
    with pytest.raises(WrongVersion, match="newer") as caught:
        migrate(database.engine)
    assert str(caught.value).startswith(f"{shown(database.engine.url)}: the database was written")
    with pytest.raises(WrongVersion, match="newer"):
        database.read(check)
    contract(database, VERSION, *oldest)


@pytest.mark.requires("initdb")
def test_of_nodes_that_start_at_once_one_migrates(postgres: Postgres) -> None:
    name = postgres.database()
    engines = [for_writing(postgres.url(name)) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(migrate, engines))
    for engine in engines:
        with engine.begin() as connection:
            check(connection)
        engine.dispose()
    postgres.drop(name)


def contract(database: Database, version: str, oldest: str = "") -> None:
    """Have the step to this version be taken, and older ones than C{oldest} be unable to go on."""
    database.execute("UPDATE alembic_version SET version_num = ?", version)
    database.execute("UPDATE compatibility SET oldest = ?", oldest or version)


def test_a_newer_version_that_has_only_expanded_the_tables_leaves_them_to_us(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        migrate(database.engine)
        database.read(check)
        assert database.rows("SELECT version_num FROM alembic_version") == ["9999"]


def test_a_newer_version_that_does_not_say_is_not_trusted(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.execute("DELETE FROM compatibility")
        with pytest.raises(WrongVersion, match="tables 9999"):
            migrate(database.engine)


def contracting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the newest step say that older versions cannot go on."""
    contracted = f"UPDATE compatibility SET oldest = '{VERSION}'"
    expand = migration._upgrade

    def upgrade(connection: sa.Connection, to: str) -> None:
        expand(connection, to)
        if connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == VERSION:
            connection.exec_driver_sql(contracted)

    monkeypatch.setattr(migration, "_upgrade", upgrade)


def at_the_version_before(engine: sa.Engine) -> None:
    """Make the tables as the version before had them, with a node of it at work."""
    upgrade(engine, "0002")
    with engine.begin() as connection:
        row = sa.insert(nodes).values(id="old", name="mx1.example.org", version="1", started=0.0)
        connection.execute(row.values(heartbeat=database_now()))


def upgrade(engine: sa.Engine, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def test_tables_are_not_contracted_while_a_node_lives_that_could_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = for_writing(database_url("sqlite:///q.db", str(tmp_path)))
    at_the_version_before(engine)
    contracting(monkeypatch)
    with pytest.raises(WrongVersion, match="still at work with an older version"):
        migrate(engine, "other")
    with engine.begin() as connection, pytest.raises(WrongVersion, match="start the server"):
        check(connection)
    migrate(engine, "old")  # that node itself, which has been upgraded
    engine.dispose()


def test_tables_are_contracted_once_the_older_nodes_are_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = for_writing(database_url("sqlite:///q.db", str(tmp_path)))
    at_the_version_before(engine)
    contracting(monkeypatch)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE nodes SET heartbeat = heartbeat - 61")
    migrate(engine, "other")
    with engine.begin() as connection:
        check(connection)
    engine.dispose()


@pytest.mark.requires("initdb")
def test_tables_in_use_are_asked_for_again(postgres: Postgres) -> None:
    engine = for_writing(postgres.url(postgres.database()))
    upgrade(engine, "0002")
    other = engine.connect()
    other.exec_driver_sql("LOCK TABLE destinations IN ROW EXCLUSIVE MODE")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        other.close()

    migrate(engine, sleep=pause)
    assert len(pauses) == 1
    engine.dispose()


#: What a node of the version before does, again and again.
OLD_WORK = [
    "INSERT INTO messages (id, created, reverse_path, login, eight_bit, utf8_header, require_tls, header, body, chunks)"
    " VALUES (%(id)s, 0, '', '', false, false, false, '', 'x', 0)",
    "INSERT INTO recipients (message_id, address, destination, notify, state, attempts, created, due, delay_told,"
    " reply_status, reply_text, host)"
    " VALUES (%(id)s, 'a@x.example', 'x.example', '', 'queued', 0, 0, 0, false, '', '', '')",
    "INSERT INTO destinations (name, ready, held_until, reason) VALUES ('x.example', 0, 0, '')"
    " ON CONFLICT (name) DO UPDATE SET ready = 0",
    "COMMIT",
    "SELECT name FROM destinations WHERE ready <= 1 ORDER BY ready LIMIT 50 FOR UPDATE SKIP LOCKED",
    "UPDATE recipients SET lease_node = 'old', lease_token = %(id)s WHERE message_id = %(id)s",
    "UPDATE destinations SET ready = NULL WHERE name = 'x.example'",
    "COMMIT",
    "UPDATE nodes SET heartbeat = extract(epoch from clock_timestamp()) WHERE id = 'old'",
    "UPDATE recipients SET lease_node = NULL, lease_token = NULL, state = 'delivered' WHERE lease_token = %(id)s",
    "UPDATE messages SET finished = 1, body = NULL WHERE id = %(id)s",
    "COMMIT",
]


@pytest.mark.requires("initdb")
def test_a_node_of_the_version_before_goes_on_while_the_tables_are_expanded(postgres: Postgres) -> None:
    name = postgres.database()
    engine = for_writing(postgres.url(name))
    at_the_version_before(engine)
    done, trouble = Queue[int](), list[BaseException]()
    enough = Event()

    def work(node: int) -> None:
        try:
            # A statement that is blocked for long fails.
            url = postgres.url(name, options="-c statement_timeout=5s")
            old = for_writing(url)
            with old.connect() as connection:
                for number in count():
                    for statement in OLD_WORK:
                        connection.exec_driver_sql(statement, {"id": f"m{node}-{number}"})
                    done.put(number)
                    if enough.is_set():
                        break
            old.dispose()
        except BaseException as error:
            trouble.append(error)
            raise

    threads = [Thread(target=work, args=(node,), daemon=True) for node in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        done.get(timeout=20)
    migrate(engine)
    while not done.empty():
        done.get()
    for _ in range(10):
        done.get(timeout=20)  # they still work
    enough.set()
    for thread in threads:
        thread.join(20)
    assert trouble == []
    with engine.begin() as connection:
        check(connection)
        assert connection.exec_driver_sql("SELECT count(*) FROM recipients WHERE state != 'delivered'").scalar() == 0
    engine.dispose()


def test_a_database_that_was_never_migrated_is_said_to_be_so(tmp_path: Path) -> None:
    url = database_url("sqlite:///q.db", str(tmp_path))
    for_writing(url).dispose()
    with for_reading(url).begin() as connection, pytest.raises(WrongVersion, match="start the server"):
        check(connection)


def test_a_migration_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    engine = for_writing(database_url("sqlite:///q.db", str(tmp_path)))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE destinations (x INT)")  # in the way of the last step
    with pytest.raises(Exception, match="destinations"):
        migrate(engine)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all() == ["destinations"]
    engine.dispose()
