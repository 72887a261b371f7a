"""Bringing a database's tables to this version, and refusing one that is not ours to read.

The daemon migrates at its start, each step in a transaction; others only check, and say what is amiss. Of several nodes
that start at once, one takes a step, and the others wait for it.

Nodes of the version before may serve meanwhile, and after. So a step either expands the tables, in a way that those
nodes need not know of, or it contracts them: then it says so in C{compatibility}, and is not taken while a node lives
that could not go on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import sqlalchemy as sa

from mailagent.database import migrations
from mailagent.database.engine import shown
from mailagent.database.schema import ALIVE, VERSION, compatibility, nodes
from mailagent.database.trouble import Conflict, trouble
from mailagent.interfaces import StorageFailed, StorageFull

#: By what PostgreSQL knows our migrations among its advisory locks.
_LOCK = int.from_bytes(b"mailagnt", "big", signed=True)
#: How often it is tried where tables are in use, and seconds between.
_TRIES, _PAUSE = 30, 0.5


class WrongVersion(StorageFailed):
    """The database's tables are not those of this version; the text says what to do."""


def migrate(engine: sa.Engine, node: str = "", sleep: Callable[[float], None] = time.sleep) -> None:
    """Bring the tables to this version. A step that fails leaves all as it was before it. Blocks.

    Tables that are in use are not waited for long, as others would have to wait behind us: it is tried again.

    @param node: our own id; the others must be able to go on.
    The text of what is raised begins with the database's name.

    @raise WrongVersion: a newer version has been here, and we cannot work with its tables; or an older one is still at
        work, and could not with ours.
    @raise StorageFailed: the database cannot be written (L{mailagent.interfaces.StorageFull}: for want of room).
    """
    tries = _TRIES
    try:
        while not _is_ready(engine):
            try:
                _take_step(engine, node)
            except Conflict:
                tries -= 1
                if not tries:
                    raise
                sleep(_PAUSE)
    except (StorageFailed, StorageFull) as error:
        raise type(error)(f"{shown(engine.url)}: {error}") from error
    finally:
        engine.dispose()


def _is_ready(engine: sa.Engine) -> bool:
    with trouble(), engine.begin() as connection:
        found = _version(connection)
        _refuse_newer(connection, found)
        return found is not None and found >= VERSION


def _take_step(engine: sa.Engine, node: str) -> None:
    """Take the next step, if there is still one when it is our turn."""
    with trouble(), engine.begin() as connection:
        _alone(connection)
        found = _version(connection)
        if found is None or found < VERSION:
            _upgrade(connection, "+1")
            _leave_nobody_behind(connection, node)


def check(connection: sa.Connection) -> None:
    """See that this version can work with the tables, and change nothing.

    @raise WrongVersion: it cannot.
    """
    found = _version(connection)
    _refuse_newer(connection, found)
    if found is None or found < VERSION:
        raise WrongVersion("the database has not been made ready for this version: start the server once")


def _alone(connection: sa.Connection) -> None:
    """Wait until nobody else migrates, until the transaction's end; it may take its time. SQLite has seen to it."""
    if connection.dialect.name == "postgresql":
        from mailagent.database.postgresql import give_way, take_time

        take_time(connection)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        give_way(connection)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _refuse_newer(connection: sa.Connection, found: str | None) -> None:
    if found is not None and found > VERSION:
        oldest = _oldest(connection)
        if oldest is None or oldest > VERSION:
            raise WrongVersion(
                f"the database was written by a newer version of mailagent (tables {found}, which serve versions of "
                f"tables {oldest or found} and newer; ours {VERSION})"
            )


def _oldest(connection: sa.Connection) -> str | None:
    """The oldest version of the tables whose servers can work with these."""
    if not sa.inspect(connection).has_table(compatibility.name):
        return None
    return connection.scalar(sa.select(compatibility.c.oldest))


def _leave_nobody_behind(connection: sa.Connection, node: str) -> None:
    """Take no step that another node, which lives, could not follow."""
    oldest = _oldest(connection)
    if oldest is None:
        return
    too_old = sa.select(nodes.c.name).where(nodes.c.id != node, ALIVE, nodes.c.tables < oldest)
    if names := connection.scalars(too_old).all():
        raise WrongVersion(
            f"{', '.join(names)} still at work with an older version, which cannot use the tables of this one: stop or "
            "upgrade them first"
        )


def _upgrade(connection: sa.Connection, to: str) -> None:
    from alembic import command  # only where there is something to do: it takes a while to load
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", os.path.dirname(migrations.__file__).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
