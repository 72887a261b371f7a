"""Being the only one, of all processes, to do something with a database as a whole.

In PostgreSQL by an advisory lock, which lasts as long as the connection that took it: what is done on that connection
is done under the lock, or fails with it. With SQLite by a lock on an empty file beside the database, which belongs to
whom the database does; the file stays, as to remove it could remove the next one's.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy import event

from mailagent.database.trouble import DatabaseLost

#: What the advisory lock is called: C{b"mailmove"}, as a number.
_KEY = int.from_bytes(b"mailmove")
#: Milliseconds that a process which has just been killed may keep it.
_WAIT = 5000
#: C{lock_not_available}.
_TAKEN = "55P03"


class Taken(Exception):
    """Somebody else is at it."""


@contextmanager
def alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for the only one; blocks.

    @param engine: from L{mailagent.database.engine.for_writing}.
    @raise Taken: there is another one.
    @raise OSError: the file to be locked cannot be opened.
    """
    if engine.dialect.name == "sqlite":
        fd = _lock_file_of(str(engine.url.database))
        try:
            _lock_file(fd)
            with engine.connect() as connection:
                yield connection
        finally:
            os.close(fd)
    else:
        with engine.connect() as connection:
            try:
                _lock_database(connection)
                event.listen(connection, "begin", _refuse_another)
                yield connection
            finally:
                connection.invalidate()  # to be closed, and the lock given up with it, whatever has happened


def _lock_file_of(database: str) -> int:
    """The file to be locked, opened. Root makes it for others; it gives away none that it finds, nor follows a link."""
    name = f"{database}-moving"
    with suppress(FileExistsError):
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        owner = os.stat(database)
        with suppress(PermissionError):
            os.fchown(fd, owner.st_uid, owner.st_gid)
        return fd
    return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock_file(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Taken from None


def _refuse_another(connection: sa.Connection) -> None:
    """SQLAlchemy would take another connection for one that broke, without a word and without the lock."""
    if connection.invalidated:
        raise DatabaseLost("the connection broke, and with it the lock")


def _lock_database(connection: sa.Connection) -> None:
    try:
        with connection.begin():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_WAIT}")
            connection.execute(sa.select(sa.func.pg_advisory_lock(_KEY)))
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _TAKEN:
            raise Taken from None
        raise
