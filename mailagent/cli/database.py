"""A database, opened for a command: to look, or to change. What is wrong is one line that names it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter

import click
import sqlalchemy as sa

from mailagent.cli.options import configuration
from mailagent.config import Config
from mailagent.database.engine import BUSY, database_url, for_reading, for_writing, shown
from mailagent.database.migration import check
from mailagent.database.trouble import trouble
from mailagent.interfaces import StorageFailed, StorageFull


class ConfiguredDatabase:
    """The database that the configuration names for the queue, or for the directory.

    @param config: the configuration file, or C{None} for where the server finds it.
    @param state: the state directory, where the configuration names another.
    @param setting: which names it.
    @param url: names another than the configuration does.
    @param new: it may have to be made.
    @ivar url: the database.
    """

    def __init__(
        self,
        config: str | None,
        state: str | None,
        setting: str = "queue.url",
        *,
        url: str | None = None,
        new: bool = False,
    ) -> None:
        self.config: Config = configuration(config)
        directory = os.path.abspath(state) if state else self.config.state
        try:
            self.url = database_url(url or attrgetter(setting)(self.config), directory)
        except ValueError as error:
            raise click.ClickException(f"{'database' if url else setting}: {error}") from None
        file = self.url.database if self.url.get_backend_name() == "sqlite" else None
        if file is not None and not new and not os.path.exists(file):
            raise click.ClickException(f"{file}: no database there; the server makes it at its first start")
        if file is not None and os.path.exists(file) and not os.access(file, os.R_OK):
            raise click.ClickException(f"{file}: Permission denied; be the user whom the server runs as")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that changes nothing."""
        with self.looking() as engine, engine.begin() as connection:
            yield connection

    def looking(self) -> AbstractContextManager[sa.Engine]:
        """An engine, none of whose transactions changes anything."""
        return self._opened(for_reading)

    def writing(self, prepare: Callable[[sa.Engine], None] = lambda engine: None) -> AbstractContextManager[sa.Engine]:
        """An engine, each of whose transactions writes; C{prepare} has it first."""
        return self._opened(for_writing, prepare)

    @contextmanager
    def _opened(
        self,
        engine_for: Callable[[sa.URL, float], sa.Engine],
        prepare: Callable[[sa.Engine], None] = lambda engine: None,
    ) -> Iterator[sa.Engine]:
        try:
            with trouble():
                engine = engine_for(self.url, BUSY)
                try:
                    prepare(engine)
                    with engine.begin() as connection:
                        check(connection)
                    yield engine
                finally:
                    engine.dispose()
        except (StorageFailed, StorageFull) as error:
            name = f"{shown(self.url)}: "
            raise click.ClickException(name + str(error).removeprefix(name)) from None  # a migration has named it
