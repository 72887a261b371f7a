"""What the database refuses, in the words of L{mailagent.interfaces}."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mailagent.interfaces import StorageFailed, StorageFull

#: PostgreSQL's C{disk_full}.
_DISK_FULL = "53100"
#: C{deadlock_detected}, C{serialization_failure} and C{lock_not_available}.
_CONFLICTS = ("40P01", "40001", "55P03")
#: C{query_canceled}: by C{statement_timeout}, as nobody else cancels ours.
_TOO_SLOW = "57014"


class DatabaseLost(StorageFailed):
    """The connection broke. Whether a commit under way was kept, nobody knows."""


class Conflict(StorageFailed):
    """The database has undone a transaction for another's sake: it may be run again."""


class TooSlow(StorageFailed):
    """The database has ended a statement that took longer than it may."""


@contextmanager
def trouble() -> Iterator[None]:
    """Turn the errors of a block into L{StorageFull} or L{StorageFailed}. Statements, whose parameters are mail, are
    left out of the text."""
    try:
        yield
    except DBAPIError as error:
        raise _kind(error)(f"database: {_text(error.orig)}") from error
    except SQLAlchemyError as error:
        raise StorageFailed(f"database: {type(error).__name__}") from error
    except BrokenPipeError:
        raise  # nobody reads any more what a command prints
    except OSError as error:
        raise (StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageFailed)(str(error)) from error


def is_conflict(error: DBAPIError) -> bool:
    """Whether it is a L{Conflict}."""
    return not error.connection_invalidated and getattr(error.orig, "sqlstate", None) in _CONFLICTS


def _kind(error: DBAPIError) -> type[StorageFull | StorageFailed]:
    if error.connection_invalidated:
        return DatabaseLost
    if is_conflict(error):
        return Conflict
    if getattr(error.orig, "sqlstate", None) == _TOO_SLOW:
        return TooSlow
    return StorageFull if _is_full(error.orig) else StorageFailed


def _text(error: BaseException | None) -> str:
    """What the database says, in one line; without PostgreSQL's details, which quote the row."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return " ".join(str(primary or error).split())


def _is_full(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or (
        getattr(error, "sqlstate", None) == _DISK_FULL
    )
