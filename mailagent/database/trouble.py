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


@contextmanager
def trouble() -> Iterator[None]:
    """Turn the errors of a block into L{StorageFull} or L{StorageFailed}. Statements, whose parameters are mail, are
    left out of the text."""
    try:
        yield
    except DBAPIError as error:
        kind = StorageFull if _is_full(error.orig) else StorageFailed
        raise kind(f"database: {error.orig}") from error
    except SQLAlchemyError as error:
        raise StorageFailed(f"database: {type(error).__name__}") from error
    except OSError as error:
        raise (StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageFailed)(str(error)) from error


def _is_full(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or (
        getattr(error, "sqlstate", None) == _DISK_FULL
    )
