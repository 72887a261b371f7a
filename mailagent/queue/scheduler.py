"""The queue's daily work: what is due is tried, and what is done again and again is done.

The scheduler looks for work when something was enqueued, when something is due, when there is room again, and every
L{POLL} seconds, so that what others do to the database is seen. While the database is away it waits; nothing ends it
but L{Scheduler.stop}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailagent.config.outbound import QueueSettings
from mailagent.database.hung import LOOK
from mailagent.database.writer import Last
from mailagent.interfaces import ICourier, StorageFailed, StorageFull
from mailagent.queue.access import FIRST_PAUSE, LONGEST_PAUSE, Access, Run
from mailagent.queue.attempts import Attempts
from mailagent.queue.chores import Chores
from mailagent.queue.items import QueuedItem
from mailagent.queue.lanes import FIRST, Allowance, Lanes
from mailagent.queue.liveness import Liveness
from mailagent.queue.reporter import Content, Reporter
from mailagent.queue.retry import jittered
from mailagent.queue.store import Store
from mailagent.queue.sweep import FIRST_SWEEP, SWEEP, Sweep
from mailagent.queue.under_way import UnderWay, ended

#: Seconds between looks, at most.
POLL = 1.0
#: Seconds until the next look where something is ready and another node keeps us from it for a moment; then twice that.
AGAIN = 0.1
#: Seconds between looks for leases of ours that nobody has in hand.
STRAY = 30.0
#: Messages claimed in one transaction, at most: mail that comes in waits for it.
CLAIMED = 50


class Scheduler:
    """See the module. Everything happens in the reactor's thread, but for the database's jobs.

    @param run: L{mailagent.database.writer.Writer.run}.
    @param beat: the same of a writer that has nothing else to do, so that no heartbeat waits for what other nodes have
        locked; C{None} where there can be no other node.
    @param read: L{mailagent.database.reader.Reader.run}.
    @param content: how a message is read: L{mailagent.queue.queue.reading}, given reader and store.
    @param clock: gives the pauses.
    @param seconds: the time, in seconds since the epoch. It may be set forward and back.
    @param settings: asked each time, so that they may change.
    @param hostname: ours, which reports come from.
    @param random: for the jitter, and ids.
    @param allowed: what a destination gets from all nodes together; asked each time, in the writer's thread.
    """

    def __init__(
        self,
        *,
        run: Run,
        read: Run,
        store: Store,
        courier: ICourier,
        content: Content,
        clock: IReactorTime,
        seconds: Callable[[], float],
        settings: Callable[[], QueueSettings],
        hostname: str,
        random: Random,
        log: Logger,
        allowed: Callable[[str], Allowance] = lambda destination: Allowance(),
        beat: Run | None = None,
    ) -> None:
        self._store = store
        self._allowed = allowed
        self._clock = clock
        self._settings = settings
        self._log = log
        self._seconds = seconds
        self._random = random
        self._shares = beat is not None  # the database with other nodes
        reading = Access(read, clock, "read", log, random)
        self._writing = Access(run, clock, "written", log, random)
        self._liveness = Liveness(
            store=store,
            writing=self._writing,
            beating=self._writing if beat is None else Access(beat, clock, "told that we live", log, random),
            clock=clock,
            lease=lambda: settings().lease,
            log=log,
        )
        self._lanes = Lanes()
        self._attempts = Attempts(
            store=store,
            courier=courier,
            content=content,
            read=read,
            reading=reading,
            writing=self._writing,
            lanes=self._lanes,
            reporter=Reporter(content, hostname, self._seconds, random),
            seconds=self._seconds,
            alive=self._liveness.is_sure,
            random=random,
            log=log,
        )
        self._sweep = Sweep(store, self._writing, seconds, settings, self._end_all, lambda: self._stopping)
        self._again = AGAIN
        self._in_hand = UnderWay(log)  # items, by their tokens
        self._busy = UnderWay(log)  # with this, and with the rest of our own work
        self._chores = Chores(clock, self._busy)
        self._heart = Chores(clock, self._busy)  # the last to stop: what is in hand stays ours for as long as it beats
        self._pause: Deferred[None] | None = None
        self._woken = False
        self._waking = False
        self._stopping = False

    def start(self) -> None:
        """Begin, as soon as the database lets us."""
        self._busy.begin(self._work_on())

    def wake(self) -> None:
        """There is something new in the queue, or room for more."""
        self._woken = True
        if self._pause is not None:
            pause, self._pause = self._pause, None
            pause.callback(None)

    def _wake_soon(self) -> None:
        """There is room for more, and more of it may follow at once: what was written down together ends together."""
        if not self._waking:
            self._waking = True
            self._clock.callLater(0, self._wake_now)

    def _wake_now(self) -> None:
        self._waking = False
        self.wake()

    def stop(self, seconds: float) -> Deferred[None]:
        """Take up nothing more. The C{Deferred} fires once all in hand is done; after C{seconds}, attempts are
        cancelled and given back."""
        return Deferred.fromCoroutine(self._stop(seconds))

    async def _stop(self, seconds: float) -> None:
        self._stopping = True
        self._chores.stop()
        self.wake()
        last = self._clock.callLater(seconds, self._cancel)
        while self._in_hand or self._busy:
            await self._in_hand.rest()
            await self._busy.rest()
        self._heart.stop()
        if last.active():
            last.cancel()
        if self._chores:
            with suppress(StorageFailed, StorageFull):  # the log has it
                await self._liveness.leave()

    def _cancel(self) -> None:
        """Give back what is being tried. A claim under way is let through, as its items would be lost to us."""
        self._attempts.stopping = True
        self._in_hand.cancel(self._in_hand.keys)

    async def _work_on(self) -> None:
        """All there is to do, until we stop."""
        trouble = FIRST_PAUSE
        while not self._stopping:
            self._woken = False
            try:
                pause = await self._look()
                trouble = FIRST_PAUSE
            except (StorageFailed, StorageFull):  # the log has it
                pause, trouble = jittered(trouble, self._random.random()), min(2 * trouble, LONGEST_PAUSE)
            except Exception:
                self._log.failure("looking for work in the queue", event="error")
                pause, trouble = trouble, min(2 * trouble, LONGEST_PAUSE)
            await self._rest(pause)

    async def _begin_work(self) -> None:
        """Take back what was ours when we ended, and begin with what is done again and again."""
        await self._liveness.start()
        if self._stopping:
            return
        self._heart.add(self._beat, self._part_of_lease(4), now=True)
        self._chores.add(self._adopt, self._part_of_lease(2))
        if self._shares:
            self._chores.add(self._liveness.end_hung, lambda: LOOK)
        self._chores.add(self._free_stray, lambda: STRAY)
        self._chores.add(self._sweep.sweep, lambda: SWEEP, FIRST_SWEEP)

    def _part_of_lease(self, parts: int) -> Callable[[], float]:
        return lambda: self._settings().lease / parts

    async def _rest(self, seconds: float) -> None:
        """Wait for so long, or to be woken."""
        if self._woken or self._stopping:
            return
        self._pause = Deferred()
        call = self._clock.callLater(seconds, self.wake)
        try:
            await self._pause
        finally:
            self._pause = None
            if call.active():
                call.cancel()

    async def _look(self) -> float:
        """Take up what is due and there is room for; returns for how many seconds there is nothing more to do."""
        if not self._chores:
            await self._begin_work()
        if not self._liveness.is_sure():  # others may think us dead: what we took then could be taken from us at once
            await self._beat()
            if not self._liveness.is_sure():
                return FIRST_PAUSE
        crowded: set[str] = set()  # by the other nodes
        while not self._stopping and (room := self._settings().deliveries - len(self._in_hand)) > 0:
            now = self._seconds()
            windows, full = self._lanes.windows(), [*self._lanes.full(), *crowded]
            claim = partial(self._claim, now, min(room, CLAIMED), windows, full)
            items, ready, more = await self._writing.once(Last(claim))
            crowded |= more
            for item in items:
                self._take(item)
            stuck = not items and not more  # what is ready: another node has it locked, or it was not ready
            if stuck and ready is not None and ready <= now:
                pause, self._again = self._again, min(2 * self._again, POLL)
                return pause
            self._again = AGAIN
            if ready is None or ready > now:
                return POLL if ready is None else min(ready - now, POLL)
        return POLL

    def _claim(
        self, now: float, room: int, windows: Mapping[str, int], full: Collection[str], connection: sa.Connection
    ) -> tuple[list[QueuedItem], float | None, set[str]]:
        """What is due, leased; when there is more, where there is room for more; and where others leave none."""
        crowded: set[str] = set()
        items = self._store.claim(connection, now, room, windows, FIRST, full, self._allowed, crowded)
        found = Counter(item.destination for item in items)
        filled = [name for name, count in found.items() if count >= windows.get(name, FIRST)]
        return items, self._store.next_ready(connection, now, [*full, *filled, *crowded]), crowded

    def _take(self, item: QueuedItem) -> None:
        """Try an item, if there is room: a message with very many recipients makes several."""
        settings = self._settings()
        if self._stopping or len(self._in_hand) >= settings.deliveries:
            self._begin(item, self._attempts.release(item))
            return
        self._lanes.enter(item.destination)
        self._begin(item, self._attempts.deliver(item, settings), lambda: self._lanes.leave(item.destination))

    def _begin(
        self, item: QueuedItem, work: Coroutine[Any, Any, None], at_end: Callable[[], None] = lambda: None
    ) -> Deferred[None]:
        """Have an item in hand until the work with it has ended."""
        return self._in_hand.begin(work, item.token, at_end, self._wake_soon)

    async def _beat(self) -> None:
        """Say that we live. Where that comes too late, others may have taken up what we have in hand."""
        trying = set(self._attempts.trying)  # what is claimed meanwhile is not in the answer
        still_ours = await self._liveness.beat()
        if still_ours is not None:
            self._drop((trying & self._attempts.trying) - still_ours)

    def _drop(self, lost: Collection[str]) -> None:
        """End the attempts at what others have taken up."""
        self._attempts.lost.update(lost)
        self._in_hand.cancel(lost)

    async def _adopt(self) -> None:
        if await self._liveness.adopt():
            self.wake()

    async def _free_stray(self) -> None:
        if await self._liveness.free_stray(self._in_hand.keys):
            self.wake()

    async def _end_all(self, items: Sequence[QueuedItem]) -> None:
        """Give up, or tell of, what has waited too long."""
        settings = self._settings()
        await ended(self._begin(item, self._attempts.end(item, settings)) for item in items)
