"""A real PostgreSQL for the tests: a server of its own in a temporary directory, and a database for whoever asks.

It listens on a Unix socket and on a free port of loopback, trusts everybody there, and keeps nothing safe from a power
cut, as that takes time.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from tests import programs

_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 60
autovacuum = off
"""


class Postgres:
    """A server; L{running} starts one."""

    def __init__(self, directory: Path, settings: str = "") -> None:
        self.directory = directory
        self.data = directory / "data"
        self.port = _free_port()
        self._made = 0
        self._idle: list[str] = []  # databases with empty tables
        if os.geteuid() == 0:  # the server refuses to be root
            shutil.chown(directory, "postgres")
        self._run("initdb", "--no-sync", "--auth=trust", "--username=mail", "--encoding=UTF8", "--locale=C")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}port = {self.port}\nunix_socket_directories = '{directory}'\n{settings}")

    def start(self) -> None:
        self._run("pg_ctl", "--wait", "--silent", f"--log={self.directory}/log", "start")

    def stop(self) -> None:
        """Cut everybody off."""
        self._run("pg_ctl", "--wait", "--silent", "--mode=immediate", "stop")

    @property
    def pid(self) -> int:
        """The process that all others of the server descend from."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def url(self, name: str, host: str | None = None, **query: str) -> sa.URL:
        """One of the server's databases; by the Unix socket, or at its port of C{host}."""
        query |= {"host": host or str(self.directory), "port": str(self.port)}
        return sa.URL.create("postgresql+psycopg", "mail", database=name, query=query)

    def database(self, template: str = "template0") -> str:
        """Make a database, and return its name."""
        self._made += 1
        name = f"test{self._made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever still uses it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def taken(self, template: str) -> str:
        """A copy of a database whose tables are empty; to be L{given_back}, as to make another one takes longer."""
        return self._idle.pop() if self._idle else self.database(template)

    def given_back(self, name: str, template: str) -> None:
        """Empty the tables that were empty; it is removed where a test has done more to it than fill those."""
        self.cut(name)
        kept = self._rows(template)
        empty = [table for table, rows in kept.items() if not rows]
        try:
            self.execute(f"TRUNCATE {', '.join(empty)} RESTART IDENTITY", database=name)
        except psycopg.Error:
            self.drop(name)
            return
        self._idle.append(name) if self._rows(name) == kept else self.drop(name)

    def _rows(self, name: str) -> dict[str, list[Any]]:
        """All that is in a database: its tables, and their rows."""
        tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
        names = [row[0] for row in self.execute(tables, database=name)]
        return {table: self.execute(f"SELECT * FROM {table}", database=name) for table in names}

    def execute(self, statement: str, *parameters: object, database: str = "postgres") -> list[Any]:
        """Have the server's owner do something."""
        with psycopg.connect(
            host=str(self.directory), port=self.port, user="mail", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def cut(self, database: str) -> int:
        """Break all connections to a database; returns how many there were."""
        return len(
            self.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", database)
        )

    def _run(self, program: str, *options: str) -> None:
        user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
        command: Sequence[str] = [programs.path(program), f"--pgdata={self.data}", *options]
        who = user if os.geteuid() == 0 else {}
        done = subprocess.run(
            command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120, **who
        )
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def running(settings: str = "") -> Iterator[Postgres]:
    """A server, for as long as the block."""
    with tempfile.TemporaryDirectory(prefix="pg") as directory:  # a short name: that of a socket is bounded
        server = Postgres(Path(directory), settings)
        server.start()
        try:
            yield server
        finally:
            with suppress(AssertionError):  # the test may have stopped it
                server.stop()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
