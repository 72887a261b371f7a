"""Many sessions' messages made durable together.

What waits while a batch is being published makes up the next one, so the busier the disk is, the more messages share
the fsync of a directory and a turn of the disk. Nothing waits for company: a message that finds no batch under way is
one at once. Each session has one message waiting at most and sends no other before it is answered, so what waits is
bounded by the sessions there may be; it is memory that the budget counts (L{mailagent.budget}).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailagent.maildir.files import FileLayer
from mailagent.maildir.publishing import Publication, Spread, publish
from mailagent.maildir.staging import RunInThread

#: A batch takes no further message once it has so many copies: the first one need not wait long for the last.
BATCH_LIMIT = 64


@attrs.define(eq=False)
class GroupCommit:
    """See the module. Its methods belong to the reactor's thread.

    @ivar spread: how the copies of a batch are written at the same time.
    """

    _files: FileLayer
    _run_in_thread: RunInThread
    _spread: Spread
    _waiting: list[tuple[Publication, Deferred[None]]] = attrs.field(factory=list, init=False)
    _busy: bool = attrs.field(default=False, init=False)

    def commit(self, message: Publication) -> Deferred[None]:
        """Publish a message with the next batch.

        @return: fires when its copies are durable, or fails with its C{error}; then there are none.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append((message, done))
        self._begin()
        return done

    def _begin(self) -> None:
        if self._busy or not self._waiting:
            return
        batch = self._take()
        self._busy = True
        published = self._run_in_thread(publish, self._files, [message for message, _ in batch], self._spread)
        published.addBoth(self._settle, batch)

    def _take(self) -> list[tuple[Publication, Deferred[None]]]:
        """The next batch, out of what waits."""
        copies = end = 0
        while copies < BATCH_LIMIT and end < len(self._waiting):
            copies += len(self._waiting[end][0].entries)
            end += 1
        batch, self._waiting = self._waiting[:end], self._waiting[end:]
        return batch

    def _settle(self, result: object, batch: Sequence[tuple[Publication, Deferred[None]]]) -> None:
        self._busy = False
        self._begin()  # the disk need not wait until all are told
        for message, done in batch:
            if isinstance(result, Failure):
                done.errback(result)
            elif message.error is not None:
                done.errback(message.error)
            else:
                done.callback(None)


@attrs.frozen
class SpreadOverThreads:
    """A L{Spread} over some threads of a pool, one of which is the caller's.

    A thread that the pool has not got yet when the others are done is not waited for.

    @ivar call_in_thread: calls a function with arguments in another thread, and does not wait; from any thread.
    @ivar threads: at the same time.
    """

    _call_in_thread: Callable[..., object]
    _threads: int

    def __call__(self, job: Callable[[Any], None], things: Sequence[Any]) -> None:
        left = iter(things)  # shared: each thing is given out once

        def work() -> None:
            for thing in left:
                job(thing)

        others: list[Future[None]] = [Future() for _ in range(min(self._threads, len(things)) - 1)]
        for other in others:
            self._call_in_thread(_run, other, work)
        try:
            work()
        finally:
            for other in others:
                if not other.cancel():
                    other.result()


def _run(future: Future[None], work: Callable[[], None]) -> None:
    """Do C{work} unless its result is no longer wanted."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(None)
