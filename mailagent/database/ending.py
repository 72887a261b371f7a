"""Work left for the end of a transaction: done once, whoever of its steps asked for it, just before the commit.

Rows that several nodes change are locked for no longer than the commit takes, and all of them in one order, whatever
the order of the steps was: no two nodes wait for each other. What is left undone by a transaction that is rolled back
is forgotten.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

_KEY = "mailagent.ending"


class Work(Protocol):
    """What is collected in a transaction. It is made empty.

    @cvar turn: kinds of work are done by this number, the lowest first.
    """

    turn: ClassVar[int]

    def write(self, connection: sa.Connection) -> None:
        """Do it."""


_W = TypeVar("_W", bound=Work)


def at_end(connection: sa.Connection, kind: type[_W]) -> _W:
    """The work of this C{kind} that is left for the transaction's end, to be added to."""
    left: dict[type[_W], _W] = connection.info.setdefault(_KEY, {})
    if kind not in left:
        left[kind] = kind()
    return left[kind]


def end_now(connection: sa.Connection) -> None:
    """Do what is left already, as what it changes is about to be read. More may be left after it."""
    left: dict[Any, Work] = connection.info.pop(_KEY, {})
    for work in sorted(left.values(), key=lambda work: work.turn):
        work.write(connection)


def keep_endings(engine: sa.Engine) -> None:
    """Have the transactions of an engine end so."""
    event.listen(engine, "begin", lambda connection: connection.info.pop(_KEY, None))
    event.listen(engine, "commit", end_now)
