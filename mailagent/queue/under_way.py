"""Work under way: begun here, so that somebody can wait for all of it, or call it off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure


@attrs.define(eq=False)
class UnderWay:
    """Pieces of work, by a key each. What one of them raises is logged."""

    _log: Logger
    _pieces: dict[object, Deferred[None] | None] = attrs.field(factory=dict, init=False)
    _waiting: list[Deferred[None]] = attrs.field(factory=list, init=False)  # for the next end

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def keys(self) -> Collection[object]:
        """Of what is under way, whenever it is asked."""
        return self._pieces.keys()

    def begin(
        self, work: Coroutine[Any, Any, None], key: object = None, *at_end: Callable[[], object]
    ) -> Deferred[None]:
        """Have work done, and then call all of C{at_end}, however it came to its end.

        @param key: nothing else under way has it; a new one where it is C{None}.
        """
        key = object() if key is None else key
        self._pieces[key] = None

        def end(result: Failure | None) -> None:
            del self._pieces[key]
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._log.failure("the queue's scheduler", result, event="error")
            for each in at_end:
                each()
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

        done = Deferred.fromCoroutine(work).addBoth(end)
        if key in self._pieces:
            self._pieces[key] = done
        return done

    def cancel(self, keys: Iterable[object]) -> None:
        """Call these off, where they are under way."""
        for key in tuple(keys):
            work = self._pieces.get(key)
            if work is not None:
                work.cancel()

    async def rest(self) -> None:
        """Return when nothing is under way."""
        while self._pieces:
            end: Deferred[None] = Deferred()
            self._waiting.append(end)
            await end


async def ended(works: Iterable[Deferred[None]]) -> None:
    """Return when all of these have ended; they are left as they are."""
    await DeferredList([_shadow(work) for work in works])


def _shadow(done: Deferred[None]) -> Deferred[None]:
    """Fires when C{done} does, and leaves it as it is."""
    shadow: Deferred[None] = Deferred()

    def follow(result: object) -> object:
        shadow.callback(None)
        return result

    done.addBoth(follow)
    return shadow
