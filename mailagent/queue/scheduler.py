"""The queue's daily work: what is due is tried, what has waited too long is ended or told of, leases are looked after.

The scheduler looks for work when something was enqueued, when something is due, when there is room again, and every
L{POLL} seconds, so that what others do to the database is seen. While the database is away it waits; nothing ends it
but L{Scheduler.stop}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from random import Random
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailagent.config.outbound import QueueSettings
from mailagent.database.writer import Last
from mailagent.interfaces import ICourier, StorageFailed, StorageFull
from mailagent.queue.access import FIRST_PAUSE, LONGEST_PAUSE, Access, Run
from mailagent.queue.attempts import Attempts
from mailagent.queue.items import QueuedItem
from mailagent.queue.lanes import FIRST, Allowance, Lanes
from mailagent.queue.reporter import Content, Reporter
from mailagent.queue.retry import JITTER, jittered
from mailagent.queue.store import Store

#: Seconds between looks, at most.
POLL = 1.0
#: Seconds until the next look where something is ready and another node keeps us from it for a moment; then twice that.
AGAIN = 0.1
#: Seconds between looks for leases of ours that nobody has in hand.
STRAY = 30.0
#: Seconds between looks for what has waited too long, or is not needed any more; and how much is taken up at once.
SWEEP, SOME = 60.0, 100
#: Seconds until the first such look: what has waited while we were away is tried before it is given up.
FIRST_SWEEP = 15.0
#: Messages claimed in one transaction, at most: mail that comes in waits for it.
CLAIMED = 50
#: Seconds for which a destination may be held. What is due much later was written while the clock was wrong.
LONGEST_HOLD = 3600.0


class Scheduler:
    """See the module. Everything happens in the reactor's thread, but for the database's jobs.

    @param run: L{mailagent.database.writer.Writer.run}.
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
    ) -> None:
        self._store = store
        self._allowed = allowed
        self._clock = clock
        self._settings = settings
        self._log = log
        self._seconds = seconds
        reading = Access(read, clock, "read", log, random)
        self._writing = Access(run, clock, "written", log, random)
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
            alive=self._alive,
            random=random,
            log=log,
        )
        self._random = random
        self._lease = 0.0  # for how long we may be silent: what we have told the others
        self._heard_of = -inf  # when we last said that we live, by the clock
        self._steady_since = -inf  # since when we could always say so in time
        self._again = AGAIN
        self._tokens: dict[str, Deferred[None] | None] = {}  # of the items in hand, and what is done with them
        self._stray: set[str] = set()  # of leases of ours that nobody had in hand at the last look
        self._in_hand: set[Deferred[None]] = set()
        self._busy: set[Deferred[None]] = set()  # with this, and with the rest of our own work
        self._chores: list[LoopingCall] = []
        self._pause: Deferred[None] | None = None
        self._woken = False
        self._waking = False
        self._stopping = False

    def start(self) -> None:
        """Begin, as soon as the database lets us."""
        self._track(self._work_on(), self._busy)

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
        for chore in self._chores:
            if chore.running:
                chore.stop()
        self.wake()
        last = self._clock.callLater(seconds, self._cancel)
        while busy := self._in_hand | self._busy:
            await DeferredList([_shadow(each) for each in busy])
        if last.active():
            last.cancel()
        if self._chores:
            with suppress(StorageFailed, StorageFull):  # the log has it
                await self._writing.once(self._store.leave)

    def _cancel(self) -> None:
        """Give back what is being tried. A claim under way is let through, as its items would be lost to us."""
        self._attempts.stopping = True
        for each in tuple(self._in_hand):
            each.cancel()

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
        await self._writing.once(partial(self._store.start, lease=self._settings().lease))
        if not self._stopping:
            chores: tuple[tuple[Callable[[], Coroutine[Any, Any, None]], Callable[[], float], float], ...] = (
                (self._beat, lambda: self._settings().lease / 4, 0.0),
                (self._adopt, lambda: self._settings().lease / 2, self._settings().lease / 2),
                (self._free_stray, lambda: STRAY, STRAY),
                (self._sweep, lambda: SWEEP, FIRST_SWEEP),
            )
            self._chores += [self._chore(work, seconds, first) for work, seconds, first in chores]

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
        if not self._alive():  # others may think us dead: what we took then could be taken from us at once
            await self._beat()
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
        return items, self._store.next_ready(connection, [*full, *filled, *crowded]), crowded

    def _take(self, item: QueuedItem) -> None:
        """Try an item, if there is room: a message with very many recipients makes several."""
        settings = self._settings()
        if self._stopping or len(self._in_hand) >= settings.deliveries:
            self._begin(item, self._attempts.release(item))
            return
        self._lanes.enter(item.destination)
        self._begin(item, self._attempts.deliver(item, settings), lambda: self._lanes.leave(item.destination))

    def _begin(
        self, item: QueuedItem, work: Coroutine[Any, Any, None], ended: Callable[[], None] = lambda: None
    ) -> Deferred[None]:
        """Have an item in hand until the work with it has ended."""
        token = item.token
        self._tokens[token] = None
        done = self._track(work, self._in_hand, lambda: self._tokens.pop(token, None), ended, self._wake_soon)
        if token in self._tokens:
            self._tokens[token] = done
        return done

    def _track(
        self, work: Coroutine[Any, Any, None], among: set[Deferred[None]], *ended: Callable[[], object]
    ) -> Deferred[None]:
        """Have work done, which is C{among} others until it ends, however it does."""
        done = Deferred.fromCoroutine(work)
        among.add(done)

        def end(result: Failure | None) -> None:
            among.discard(done)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._log.failure("the queue's scheduler", result, event="error")
            for each in ended:
                each()

        return done.addBoth(end)

    def _chore(
        self, work: Callable[[], Coroutine[Any, Any, None]], seconds: Callable[[], float], first: float
    ) -> LoopingCall:
        """Have work done again and again, the first time after C{first} seconds."""

        async def once() -> None:
            chore.interval = seconds()
            with suppress(StorageFailed, StorageFull):  # the log has it
                await work()

        chore = LoopingCall(lambda: self._track(once(), self._busy))
        chore.clock = self._clock
        chore.start(first, now=not first)
        return chore

    async def _beat(self) -> None:
        """Say that we live. Where that comes too late, others may have taken up what we have in hand."""
        began, lease = self._clock.seconds(), self._settings().lease
        trying = set(self._attempts.trying)  # what is claimed meanwhile is not in the answer
        still_ours = await self._writing.once(partial(self._store.beat, lease=lease))
        if began - self._heard_of > self._lease - lease / 4:
            self._steady_since = began
        self._heard_of, self._lease = began, lease
        if still_ours is not None:
            self._drop((trying & self._attempts.trying) - still_ours)

    def _drop(self, lost: Collection[str]) -> None:
        """End the attempts at what others have taken up."""
        self._attempts.lost.update(lost)
        for token in lost:
            work = self._tokens.get(token)
            if work is not None:
                work.cancel()

    def _alive(self) -> bool:
        """Whether no other node can have taken us for dead, nor soon will."""
        return self._clock.seconds() - self._heard_of < self._lease / 2

    async def _adopt(self) -> None:
        """Take over what dead nodes had in hand: not those that could not say that they live, as little as we could."""
        if not self._alive() or self._clock.seconds() - self._steady_since < self._settings().lease / 2:
            return
        if await self._writing.once(self._store.adopt):
            self.wake()

    async def _free_stray(self) -> None:
        """Free what is leased to us and in nobody's hand, at two looks: the commit of its claim was not answered, or it
        could not be given back. An outcome that came after all would not be written."""
        stray = await self._writing.once(self._store.leases) - self._tokens.keys()
        lasting, self._stray = stray & self._stray, stray
        if lasting:
            await self._writing.once(partial(self._store.free, tokens=lasting))
            self.wake()

    def _recall(self, connection: sa.Connection) -> None:
        now = self._seconds()
        longest = max(self._settings().retry_most * (1 + JITTER), LONGEST_HOLD)
        self._store.recall(connection, now, longest + SWEEP)

    async def _sweep(self) -> None:
        """End or tell of what has waited too long, then remove what is not needed any more."""
        await self._writing.once(Last(self._recall))
        before: set[int] = set()
        while not self._stopping:
            settings = self._settings()
            overdue = partial(
                self._store.overdue,
                now=self._seconds(),
                give_up=settings.give_up,
                delay_notice=settings.delay_notice,
                limit=SOME,
            )
            items = await self._writing.once(overdue)
            if not items:
                break
            await DeferredList([_shadow(self._begin(item, self._attempts.end(item, settings))) for item in items])
            numbers = {recipient.id for item in items for recipient in item.recipients}
            if numbers <= before:  # a defect keeps them from ending: not again at once
                break
            before = numbers
        sweep = partial(self._store.sweep, now=self._seconds(), keep=self._settings().keep, limit=SOME)
        removed = SOME
        while removed and not self._stopping:
            removed = await self._writing.once(Last(sweep))


def _shadow(done: Deferred[None]) -> Deferred[None]:
    """Fires when C{done} does, and leaves it as it is."""
    shadow: Deferred[None] = Deferred()

    def follow(result: object) -> object:
        shadow.callback(None)
        return result

    done.addBoth(follow)
    return shadow
