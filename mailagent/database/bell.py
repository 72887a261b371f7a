"""Wake-ups between nodes that share a PostgreSQL: one rings when it has queued something, all others hear it.

A hint, and no more: each node looks for itself every second, so that a ring that is lost with a connection costs one
second. That is why it goes by a connection of its own, after the commit that it tells of: a C{NOTIFY} in that
transaction would have the commits of all nodes wait for each other. Rings in quick succession are one.

While the database is away nothing is said of it here, as those who need it do; once it is back, all is looked at.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from random import SystemRandom
from threading import Event, Thread
from typing import Any

import sqlalchemy as sa

#: What it is called among the database's channels.
CHANNEL = "mailagent_queue"
#: Seconds from one ring to the next, at least.
GAP = 0.1
#: Seconds until the next try to reach a database that is away: the first pause, doubled up to the last.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
#: Rings that are taken as one, at most.
_MANY = 4096
_RANDOM = SystemRandom()


class Bell:
    """See the module.

    @param engine: a PostgreSQL's, from L{mailagent.database.engine.for_reading}; the bell's own.
    @param heard: called in the bell's thread where another node has rung, or may have.
    """

    def __init__(self, engine: sa.Engine, heard: Callable[[], None]) -> None:
        self._engine = engine
        self._heard = heard
        self._rung = False
        self._ended = Event()
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._away = (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error, OSError)

    def start(self) -> None:
        """Begin to listen."""
        # A daemon: it may wait for a server that does not answer, and that must not keep the process from its end.
        Thread(target=self._work, name="bell", daemon=True).start()

    def ring(self) -> None:
        """Have the others hear; from any thread, and without a wait."""
        if not self._rung:
            self._rung = True
            self._poke()

    def stop(self) -> None:
        """End, soon."""
        self._ended.set()
        self._poke()

    def _poke(self) -> None:
        with suppress(OSError):  # full: it is awake, then; or closed
            self._outside.send(b"!")

    def _work(self) -> None:
        pause = _FIRST_PAUSE
        while not self._ended.is_set():
            try:
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    connection.exec_driver_sql(f"LISTEN {CHANNEL}")
                    pause = _FIRST_PAUSE
                    self._heard()  # it may have rung while nobody listened
                    self._attend(connection)
            except self._away:
                self._ended.wait(pause * _RANDOM.uniform(0.5, 1.0))  # so that not all nodes come at once
                pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                self._engine.dispose()
        self._inside.close()
        self._outside.close()

    def _attend(self, connection: sa.Connection) -> None:
        """Ring and hear, until the end. What is raised is the connection's loss."""
        driver: Any = connection.connection.driver_connection
        with selectors.DefaultSelector() as selector:
            selector.register(driver.fileno(), selectors.EVENT_READ)
            selector.register(self._inside, selectors.EVENT_READ)
            while not self._ended.is_set():
                if self._inside in [key.fileobj for key, _ in selector.select()]:
                    self._tell(connection)
                if any(notice.pid != driver.info.backend_pid for notice in driver.notifies(timeout=0)):
                    self._heard()

    def _tell(self, connection: sa.Connection) -> None:
        self._inside.recv(_MANY)
        self._rung = False
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")
        self._ended.wait(GAP)


def ring(engine: sa.Engine) -> None:
    """Have all nodes hear that something is due now, where they can; for those who have no bell. Blocks.

    @param engine: from L{mailagent.database.engine.for_writing}.
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql(f"NOTIFY {CHANNEL}")
