"""Bringing a database's tables to this version, and refusing one that is not ours to read.

The daemon migrates at its start, in one transaction; others only check, and say what is amiss. Of several nodes that
start at once, one migrates, and the others wait for it.
"""

from __future__ import annotations

import os

import sqlalchemy as sa

from mailagent.database import migrations
from mailagent.database.schema import VERSION
from mailagent.database.trouble import trouble
from mailagent.interfaces import StorageFailed

#: By what PostgreSQL knows our migrations among its advisory locks.
_LOCK = int.from_bytes(b"mailagnt", "big", signed=True)


class WrongVersion(StorageFailed):
    """The database's tables are not those of this version; the text says what to do."""


def migrate(engine: sa.Engine) -> None:
    """Bring the tables to this version, or leave all as it was. Blocks.

    @raise WrongVersion: a newer version has been here.
    @raise StorageFailed: the database cannot be written (L{mailagent.interfaces.StorageFull}: for want of room).
    """
    with trouble(), engine.begin() as connection:
        if _version(connection) == VERSION:
            return
        _alone(connection)
        found = _version(connection)
        if found == VERSION:
            return
        _refuse_newer(found)
        _upgrade(connection)
    engine.dispose()


def check(connection: sa.Connection) -> None:
    """See that the tables are those of this version, and change nothing.

    @raise WrongVersion: they are not.
    """
    found = _version(connection)
    _refuse_newer(found)
    if found != VERSION:
        raise WrongVersion("the database has not been made ready for this version: start the server once")


def _alone(connection: sa.Connection) -> None:
    """Wait until nobody else migrates, until the transaction's end; it may take its time. SQLite has seen to it."""
    if connection.dialect.name == "postgresql":
        from mailagent.database.postgresql import take_time

        take_time(connection)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _refuse_newer(found: str | None) -> None:
    if found is not None and found > VERSION:
        raise WrongVersion(f"the database was written by a newer version of mailagent (tables {found}, ours {VERSION})")


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # only where there is something to do: it takes a while to load
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", os.path.dirname(migrations.__file__).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, VERSION)
