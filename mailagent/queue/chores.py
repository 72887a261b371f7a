"""What is done again and again while the queue is at work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from mailagent.interfaces import StorageFailed, StorageFull
from mailagent.queue.under_way import UnderWay


@attrs.define(eq=False)
class Chores:
    """Each waits for its own end, and so for its next turn while the database is away."""

    _clock: IReactorTime
    _under_way: UnderWay
    _loops: list[LoopingCall] = attrs.field(factory=list, init=False)

    def __bool__(self) -> bool:
        return bool(self._loops)

    def add(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        seconds: Callable[[], float],
        first: float | None = None,
        now: bool = False,
    ) -> None:
        """Have C{work} done every so many seconds, asked each time.

        @param first: seconds until the first time, where that differs.
        @param now: do it at once as well.
        """

        async def once() -> None:
            loop.interval = seconds()
            with suppress(StorageFailed, StorageFull):  # the log has it
                await work()

        loop = LoopingCall(lambda: self._under_way.begin(once()))
        loop.clock = self._clock
        self._loops.append(loop)
        loop.start(seconds() if first is None else first, now)

    def stop(self) -> None:
        """Begin none of it again."""
        for loop in self._loops:
            if loop.running:
                loop.stop()
