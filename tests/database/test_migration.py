"""From one version's tables to the next's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from mailagent.database import migrations
from mailagent.database.engine import database_url, for_reading, for_writing
from mailagent.database.migration import WrongVersion, check, migrate
from mailagent.database.schema import VERSION, metadata
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
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(WrongVersion, match="newer"):
        migrate(database.engine)
    with pytest.raises(WrongVersion, match="newer"):
        database.read(check)
    database.execute(f"UPDATE alembic_version SET version_num = '{VERSION}'")


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
