"""Rows are read as they were at one moment, although each statement may see another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from mailagent.directory.stored import AliasRow, HostRow, Rows, UserRow
from mailagent.stored_directory import changing, rows
from tests.database.support import Database
from tests.directory.test_users_file import SCRAM

ANN = UserRow("example.org", "ann", str(SCRAM), "info@example.org,sales@example.org")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path) as database:
        yield database


@contextmanager
def changed_meanwhile(database: Database, times: int) -> Iterator[list[str]]:
    """Each of the next readings, so many times, has somebody add a user and a host between its statements: the users'
    names. The transaction's own changes stand for what others commit, as SQLite shows it nothing of theirs."""
    added: list[str] = []

    def change(connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if len(added) < times and "ORDER BY users.id" in statement:
            added.append(name := f"user{len(added)}")
            connection.execute(sa.text("UPDATE directory SET version = version + 1"))
            changing.add_host(f"{name}.example", shared=True)(connection)
            changing.add_user(name, None)(connection)

    event.listen(database.engine, "before_cursor_execute", change)
    try:
        yield added
    finally:
        event.remove(database.engine, "before_cursor_execute", change)


def test_an_empty_directory_has_no_rows_and_a_secret_of_its_own(database: Database, tmp_path: Path) -> None:
    read = database.read(rows.read)
    assert read == Rows(0, read.secret, [], [], [])
    (tmp_path / "other").mkdir()
    with Database(tmp_path / "other") as other:
        assert other.read(rows.read).secret != read.secret


def test_all_rows_are_read_as_they_were_written(database: Database) -> None:
    for change in (
        changing.add_host("example.org", shared=False),
        changing.add_host("alpha.example", shared=True),
        changing.add_user("zoe", None),
        changing.add_user("ann@example.org", str(SCRAM), ["info@example.org", "sales@example.org"]),
        changing.add_alias("x@example.org", ["ann", "bob@elsewhere.example"]),
    ):
        database.write(changing.make, "mx.example.org", change)
    read = database.read(rows.read)
    assert read.version == database.read(rows.version) == 5
    assert read.hosts == [HostRow("alpha.example", True), HostRow("example.org", False)]
    assert read.users == [UserRow("", "zoe", None, ""), ANN]
    assert read.aliases == [AliasRow("example.org", "x", "ann"), AliasRow("example.org", "x", "bob@elsewhere.example")]


def test_without_logins_nobody_has_one(database: Database) -> None:
    database.write(changing.make, "mx.example.org", changing.add_user("ann", str(SCRAM)))
    assert database.read(rows.read, False).users == [UserRow("", "ann", None, "")]


def test_what_is_changed_meanwhile_is_read_again(database: Database) -> None:
    with changed_meanwhile(database, times=1) as added:
        read = database.write(rows.read)
    assert read.version == 1
    assert [host.name for host in read.hosts] == ["user0.example"]
    assert [user.name for user in read.users] == added == ["user0"]


def test_what_never_comes_to_rest_is_given_the_older_version_so_that_it_is_looked_at_again(database: Database) -> None:
    with changed_meanwhile(database, times=1000) as added:
        read = database.write(rows.read)
        assert read.version < database.write(rows.version)
    assert len(added) < 10
