"""The databases that a test of the store runs on: a SQLite file, and one of a real PostgreSQL.

A test that is about one of them alone says so: C{@only_sqlite}, C{@only_postgresql}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailagent.database.engine import for_writing
from mailagent.database.migration import migrate
from tests import programs
from tests.database.support import Database
from tests.postgres import Postgres, running

#: Makes another database, each time it is called.
MakeDatabase = Callable[[], Database]

only_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which one."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests; ask for it only where PostgreSQL is there."""
    if programs.find("initdb") is None:
        programs.absent("PostgreSQL")
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """A database with our tables, to be copied."""
    name = postgres.database()
    engine = for_writing(postgres.url(name))
    migrate(engine)
    engine.dispose()
    return name


@pytest.fixture
def make_database(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeDatabase]:
    """Makes a database with our tables; closed, and gone, with the test."""
    with ExitStack() as stack:

        def make() -> Database:
            if kind == "sqlite":
                directory = tmp_path / f"database{len(made)}" if made else tmp_path
                directory.mkdir(exist_ok=True)
                database = Database(directory)
            else:
                server: Postgres = request.getfixturevalue("postgres")
                copied: str = request.getfixturevalue("template")
                name = server.taken(copied)
                stack.callback(server.given_back, name, copied)
                database = Database(tmp_path, url=server.url(name))
            made.append(stack.enter_context(database))
            return database

        made: list[Database] = []
        yield make


@pytest.fixture
def database(make_database: MakeDatabase) -> Database:
    """A database with our tables."""
    return make_database()
