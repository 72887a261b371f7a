"""Transactions of those who have no L{mailagent.database.writer.Writer}, such as commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from mailagent.database.trouble import is_conflict

_T = TypeVar("_T")

#: How often a transaction is tried that another's has undone.
TRIES = 4


def transact(connection: sa.Connection, job: Callable[[sa.Connection], _T]) -> _T:
    """Do C{job} in a transaction, and again where another one stood in its way; returns what it did. Blocks.

    @param connection: of an engine from L{mailagent.database.engine.for_writing}, in no transaction.
    @param job: does nothing but use the connection, as it may be run several times.
    @raise sa.exc.SQLAlchemyError: it cannot be done. See L{mailagent.database.trouble.trouble}.
    """
    for _ in range(TRIES - 1):
        try:
            return _once(connection, job)
        except sa.exc.DBAPIError as error:
            if not is_conflict(error):
                raise
    return _once(connection, job)


def _once(connection: sa.Connection, job: Callable[[sa.Connection], _T]) -> _T:
    with connection.begin():
        return job(connection)
