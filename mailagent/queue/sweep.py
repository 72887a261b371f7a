"""What has waited too long is ended or told of; what is not needed any more is removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import attrs
import sqlalchemy as sa

from mailagent.config.outbound import QueueSettings
from mailagent.database.writer import Last
from mailagent.queue.access import Access
from mailagent.queue.items import QueuedItem
from mailagent.queue.retry import JITTER
from mailagent.queue.store import Store

#: Seconds between sweeps.
SWEEP = 60.0
#: Seconds until the first one: what has waited while we were away is tried before it is given up.
FIRST_SWEEP = 15.0
#: How much is taken up at once.
SOME = 100
#: Seconds for which a destination may be held. What is due much later was written while the clock was wrong.
LONGEST_HOLD = 3600.0


@attrs.frozen
class Sweep:
    """See the module.

    @ivar seconds: the time, in seconds since the epoch.
    @ivar end: ends, or tells of, all of these items, and returns then.
    @ivar stopping: whether to leave the rest for another time.
    """

    _store: Store
    _writing: Access
    _seconds: Callable[[], float]
    _settings: Callable[[], QueueSettings]
    _end: Callable[[Sequence[QueuedItem]], Awaitable[object]]
    _stopping: Callable[[], bool]

    async def sweep(self) -> None:
        """Do it all, once."""
        longest = max(self._settings().retry_most * (1 + JITTER), LONGEST_HOLD)
        await self._all(partial(self._store.recall, now=self._seconds(), seconds=longest + SWEEP, limit=SOME))
        await self._end_overdue()
        await self._all(partial(self._store.sweep, now=self._seconds(), keep=self._settings().keep, limit=SOME))

    async def _all(self, some: Callable[[sa.Connection], int]) -> None:
        """Have C{some} done, which says how many those were, until there are no more."""
        while not self._stopping() and await self._writing.once(Last(some)) > 0:
            pass

    async def _end_overdue(self) -> None:
        before: set[int] = set()
        while not self._stopping() and (items := await self._writing.once(self._overdue)):
            await self._end(items)
            numbers = {recipient.id for item in items for recipient in item.recipients}
            if numbers <= before:  # a defect keeps them from ending: not again at once
                return
            before = numbers

    def _overdue(self, connection: sa.Connection) -> list[QueuedItem]:
        settings = self._settings()
        return self._store.overdue(connection, self._seconds(), settings.give_up, settings.delay_notice, SOME)
