"""The time by the database's clock: what nodes that share a queue reckon by, however wrong the clock of one is.

What a node that is a day ahead thought too old would be given up for all of them. So each heartbeat brings the
database's moment along, and from one to the next the clock that is never set goes on from there. The machine's own
time is only looked at to tell people how wrong it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailagent.database.moment import database_now
from mailagent.log import CLOCK_DIFFERS
from mailagent.queue.access import Run

_T = TypeVar("_T")

#: Seconds by which a clock may differ before people hear of it.
TOLERATED = 30.0
_NOW = sa.select(database_now())


class SharedTime:
    """See the module. Before anything was heard from the database, the machine's own time.

    @param own: that, in seconds since the epoch.
    @param monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, own: Callable[[], float], monotonic: Callable[[], float], log: Logger) -> None:
        self._own = own
        self._monotonic = monotonic
        self._log = log
        self._offset = own() - monotonic()
        self._differs = False

    def seconds(self) -> float:
        """The time, in seconds since the epoch. From any thread."""
        return self._monotonic() + self._offset

    def read(self, connection: sa.Connection) -> None:
        """Ask the database. Blocks."""
        self._hear(connection.scalar(_NOW) or 0.0)

    def watched(self, run: Run) -> Run:
        """The same way to the database, by which its moment comes along with every answer."""

        def asking(job: Callable[[sa.Connection], _T], /) -> Deferred[_T]:
            return run(lambda connection: (job(connection), connection.scalar(_NOW) or 0.0)).addCallback(heard)

        def heard(answer: tuple[_T, float]) -> _T:
            result, moment = answer
            self._hear(moment)
            return result

        return asking

    def _hear(self, moment: float) -> None:
        self._offset = moment - self._monotonic()
        ahead = self._own() - moment
        if abs(ahead) > TOLERATED and not self._differs:
            CLOCK_DIFFERS(self._log, seconds=ahead)
        self._differs = abs(ahead) > TOLERATED
