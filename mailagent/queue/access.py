"""The way to the database, for those who can wait while it is away.

What must be done is tried until it is, with growing pauses that differ a little, so that not all who wait come back at
once; a failure that is not the database's trouble ends that. The log has one line when the trouble begins and one when
it ends, however many wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Protocol, TypeVar

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailagent.interfaces import StorageFailed, StorageFull
from mailagent.log import QUEUE_RECOVERED, QUEUE_TROUBLE
from mailagent.queue.retry import jittered

_T = TypeVar("_T")

#: Seconds between tries: the first pause, doubled up to the last.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Run(Protocol):
    """L{mailagent.database.writer.Writer.run}, or the reader's."""

    def __call__(self, job: Callable[[sa.Connection], _T], /) -> Deferred[_T]:
        """Have C{job} done in a transaction; a C{Deferred} of what it returns."""


@attrs.define(eq=False)
class Access:
    """See the module.

    @ivar run: has a job done in a transaction.
    @ivar clock: gives the pauses.
    @ivar verb: what is done with the database, for the log: C{"read"} or C{"written"}.
    @ivar random: for the jitter.
    """

    _run: Run
    _clock: IReactorTime
    _verb: str
    _log: Logger
    _random: Random
    _trouble: bool = attrs.field(default=False, init=False)

    async def once(self, job: Callable[[sa.Connection], _T]) -> _T:
        """What C{job} comes to, or fails with; the log hears of the database's trouble."""
        return await self._told(partial(self._run, job))

    async def insist(self, job: Callable[[sa.Connection], _T]) -> _T:
        """What C{job} comes to, as soon as the database lets it. May be cancelled meanwhile."""
        return await self.insist_on(partial(self._run, job))

    async def insist_on(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """The same of work that has several jobs done."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._told(work)
            except (StorageFailed, StorageFull):  # the log has it
                await deferLater(self._clock, jittered(pause, self._random.random()))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _told(self, work: Callable[[], Awaitable[_T]]) -> _T:
        try:
            found = await work()
        except (StorageFailed, StorageFull) as error:
            if not self._trouble:
                QUEUE_TROUBLE(self._log, verb=self._verb, reason=str(error))
            self._trouble = True
            raise
        if self._trouble:
            self._trouble = False
            QUEUE_RECOVERED(self._log, verb=self._verb)
        return found
