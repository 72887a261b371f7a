"""What is left for the end of a transaction."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest
import sqlalchemy as sa

from mailagent.database.ending import at_end, end_now
from mailagent.interfaces import StorageFailed
from tests.database.support import Database


@attrs.define
class Notes:
    """Leaves its names in a table, and tells in which order it had its turn."""

    turn: ClassVar[int] = 1
    names: list[str] = attrs.field(factory=list)

    def write(self, connection: sa.Connection) -> None:
        rows = [{"name": f"{number}{name}"} for number, name in enumerate(self.names)]
        connection.execute(sa.text("INSERT INTO staged VALUES (:name, 0)"), rows)


@attrs.define
class Earlier(Notes):
    turn: ClassVar[int] = 0

    def write(self, connection: sa.Connection) -> None:
        left = connection.scalar(sa.text("SELECT count(*) FROM staged"))
        self.names = [f"{name} after {left}" for name in self.names]
        super().write(connection)


def noted(database: Database) -> list[str]:
    return database.rows("SELECT message_id FROM staged ORDER BY 1")


def test_what_is_left_is_done_once_at_the_commit(database: Database) -> None:
    with database.engine.begin() as connection:
        at_end(connection, Notes).names.append("a")
        at_end(connection, Notes).names.append("b")
        assert connection.scalar(sa.text("SELECT count(*) FROM staged")) == 0
    assert noted(database) == ["0a", "1b"]
    with database.engine.begin():
        pass
    assert noted(database) == ["0a", "1b"]


def test_kinds_of_work_have_their_turns(database: Database) -> None:
    with database.engine.begin() as connection:
        at_end(connection, Notes).names.append("a")
        at_end(connection, Earlier).names.append("b")
    assert noted(database) == ["0a", "0b after 0"]


def test_what_is_left_can_be_done_already_and_more_be_left_after_it(database: Database) -> None:
    with database.engine.begin() as connection:
        at_end(connection, Notes).names.append("a")
        end_now(connection)
        assert connection.scalar(sa.text("SELECT count(*) FROM staged")) == 1
        at_end(connection, Notes).names += ["", "b"]
        connection.execute(sa.text("DELETE FROM staged"))
    assert noted(database) == ["0", "1b"]


def test_a_transaction_that_is_rolled_back_leaves_nothing_to_the_next(database: Database) -> None:
    with database.engine.connect() as connection:
        connection.begin()
        at_end(connection, Notes).names.append("a")
    with database.engine.begin():
        pass
    assert noted(database) == []


def test_work_that_fails_is_the_transactions_failure(database: Database) -> None:
    database.execute("INSERT INTO staged VALUES ('0a', 0)")
    with pytest.raises(StorageFailed):
        database.write(lambda connection: at_end(connection, Notes).names.append("a"))
    database.execute("DELETE FROM staged")
    database.write(lambda connection: at_end(connection, Notes).names.append("b"))
    assert noted(database) == ["0b"]
