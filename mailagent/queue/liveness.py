"""Which nodes live: this one says that it does, and frees what the dead, and those that fall silent, keep from others.

A node that cannot say in time that it lives is taken for dead, and what it has in hand is taken up by the others. It
judges others only while it is well itself: where the database is slow for all of them, none is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from math import inf
from secrets import token_hex

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailagent.database.writer import Last
from mailagent.log import NODE_ID_TAKEN, TRANSACTION_ENDED
from mailagent.queue.access import Access
from mailagent.queue.store import Store
from mailagent.queue.store_nodes import NodeTaken


class Liveness:
    """See the module. What fails for the database's trouble may be done again at the next turn.

    @param writing: the queue's ordinary way to the database.
    @param beating: one of its own for what must not wait behind that: for what other nodes have locked, say.
    @param lease: for how many seconds this node may be silent; asked each time, so that it may change.
    """

    def __init__(
        self,
        *,
        store: Store,
        writing: Access,
        beating: Access,
        clock: IReactorTime,
        lease: Callable[[], float],
        log: Logger,
    ) -> None:
        self._store = store
        self._writing = writing
        self._beating = beating
        self._clock = clock
        self._lease = lease
        self._log = log
        self._promised = 0.0  # for how long we may be silent: what we have told the others
        self._told_at = -inf  # when we last said that we live, by the clock
        self._steady_since = -inf  # since when we could always say so in time
        self._stray: set[str] = set()  # of leases of ours that nobody had in hand at the last look

    async def start(self) -> None:
        """Register this node, and take back what was its own when it ended."""
        await self._writing.once(partial(self._store.start, lease=self._lease()))

    async def beat(self) -> set[str] | None:
        """Say that this node lives. Where that came so late that others may have taken up what it has in hand: the
        tokens of what is still its own; else C{None}."""
        began, lease = self._clock.seconds(), self._lease()
        try:
            still_ours = await self._beating.once(partial(self._store.beat, lease=lease))
        except NodeTaken:
            still_ours = await self._become_another(lease)
        if began - self._told_at > self._promised - lease / 4:
            self._steady_since = began
        self._told_at, self._promised = began, lease
        return still_ours

    async def _become_another(self, lease: float) -> set[str]:
        """Leave our id to who took it, with all that was leased to us; returns what is still ours: nothing."""
        before, new = self._store.node, token_hex(16)
        self._store.become(new)
        NODE_ID_TAKEN(self._log, id=before, new=new)
        await self._beating.once(partial(self._store.start, lease=lease))
        return set()

    def is_sure(self) -> bool:
        """Whether no other node can have taken this one for dead, nor soon will."""
        return self._clock.seconds() - self._told_at < self._promised / 2

    async def adopt(self) -> int:
        """Free what dead nodes had in hand: not those that could not say that they live, as little as we could; returns
        how many recipients that were."""
        if not self.is_sure() or self._clock.seconds() - self._steady_since < self._lease() / 2:
            return 0
        return await self._writing.once(Last(self._store.adopt))

    async def end_hung(self) -> None:
        """End the transactions of nodes that froze, or were cut off, in the middle: nobody else can take up what they
        have locked, dead or not."""
        for address in await self._beating.once(self._store.end_hung):
            TRANSACTION_ENDED(self._log, address=address)

    async def free_stray(self, in_hand: Collection[object]) -> int:
        """Free what is leased to this node and not C{in_hand}, at two looks: the commit of its claim was not answered,
        or it could not be given back; returns how many recipients that were. An outcome that came after all would not
        be written.

        @param in_hand: the tokens of what is, whenever it is asked.
        """
        stray = {token for token in await self._writing.once(self._store.leases) if token not in in_hand}
        lasting, self._stray = stray & self._stray, stray
        return await self._writing.once(partial(self._store.free, tokens=lasting)) if lasting else 0

    async def leave(self) -> None:
        """Say that this node ends."""
        await self._writing.once(self._store.leave)
