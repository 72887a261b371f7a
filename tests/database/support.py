"""What the tests of database and queue share: a database in a file, and a writer without a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from twisted.internet.defer import Deferred, execute

from mailagent.database.engine import database_url, for_reading, for_writing
from mailagent.database.migration import migrate
from mailagent.database.trouble import trouble
from mailagent.database.writer import Writer

_T = TypeVar("_T")


class Caller:
    """As much of a reactor as is needed by those who come from a thread, or want a turn: all is done at once."""

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        function(*args)

    def callLater(self, seconds: float, function: Callable[..., object], *args: object) -> None:
        function(*args)


class InlineWriter(Writer):
    """A writer that does each job, in a transaction of its own, before it returns."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine, Caller())
        self.jobs = 0

    def call(self, job: Callable[[sa.Connection], _T]) -> _T:
        self.jobs += 1
        with trouble(), self._engine.begin() as connection:
            return job(connection)

    def run(self, job: Callable[[sa.Connection], _T]) -> Deferred[_T]:
        return execute(self.call, job)


class Database:
    """A migrated SQLite file. Left as a context, it is closed."""

    def __init__(self, directory: Path, busy: float = 5.0) -> None:
        self.url = database_url("sqlite:///queue.db", str(directory))
        self.engine = for_writing(self.url, busy)
        self.reading = for_reading(self.url, busy)
        self.writer = InlineWriter(self.engine)
        migrate(self.engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()
        self.reading.dispose()

    def write(self, job: Callable[..., _T], *args: Any, **more: Any) -> _T:
        """Do a job in a transaction."""
        return self.writer.call(lambda connection: job(connection, *args, **more))

    def read(self, job: Callable[..., _T], *args: Any) -> _T:
        """Do a job that only looks."""
        with self.reading.begin() as connection:
            return job(connection, *args)

    def rows(self, statement: str) -> list[Any]:
        """What a SELECT finds; single columns bare."""
        with self.reading.begin() as connection:
            rows = connection.exec_driver_sql(statement).all()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    def execute(self, statement: str, *parameters: object) -> None:
        """Change something by hand."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement, parameters)

    @contextmanager
    def statements(self) -> Iterator[list[tuple[str, Any]]]:
        """The statements of the block, each with its parameters."""
        seen: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
            seen.append((statement, parameters[0] if many else parameters))

        event.listen(self.engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(self.engine, "before_cursor_execute", note)
