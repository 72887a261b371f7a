"""Many sessions' messages made durable together.

What waits while a batch is being published makes up the next one, so the busier the disk is, the more messages share
the fsync of a directory and a turn of the disk. Nothing waits for company: a message that finds no batch under way is
one at once. Each session has one message waiting at most and sends no other before it is answered, and one whose client
has hung up counts as a session until then, so what waits is bounded by the sessions there may be; it is memory that the
budget counts (L{mailagent.budget}).

A disk may hang, and with it a batch. One that takes longer than L{PATIENCE} is late: the next waits for it no longer,
and has threads of its own. What is for a mailbox that a late batch is busy with does wait, or it would hang the next
one as well. So a mailbox that hangs holds up its own mail as long as it hangs, and other mail once, for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailagent.maildir.files import FileLayer
from mailagent.maildir.publishing import Publication, Spread, in_turn, publish
from mailagent.maildir.staging import RunInThread

#: A batch takes no further message once it has so many copies: the first one need not wait long for the last.
BATCH_LIMIT = 64


#: Seconds after which a batch that has not ended is not waited for by others.
PATIENCE = 1.0

#: A message, and who waits for it.
_Waiting = tuple[Publication, Deferred[None]]


@attrs.frozen
class Lane:
    """Threads that a batch has for itself.

    @ivar run_in_thread: calls a function with arguments in one; a C{Deferred} of its result.
    @ivar spread: how the copies of a batch are written at the same time.
    """

    run_in_thread: RunInThread
    spread: Spread = in_turn


@attrs.frozen(eq=False)
class _Batch:
    """What is being published together."""

    messages: Sequence[_Waiting]
    lane: Lane

    @property
    def held_up_at(self) -> set[str]:
        """The mailboxes that it is busy with; where that is not known, all of its mailboxes."""
        messages = [message for message, _ in self.messages]
        busy = {mailbox.path for message in messages for mailbox in tuple(message.at)}
        return busy or {entry.mailbox.path for message in messages for entry in message.entries}


def _free(lanes: Iterable[Lane]) -> list[Lane]:
    return list(lanes)


@attrs.define(eq=False)
class GroupCommit:
    """See the module. Its methods belong to the reactor's thread.

    @ivar lanes: batches there may be at the same time, all but one of them late.
    @ivar call_later: calls a function with arguments after so many seconds; without it, no batch is late.
    """

    _files: FileLayer
    _lanes: list[Lane] = attrs.field(converter=_free)
    _call_later: Callable[..., object] | None = None
    _waiting: list[_Waiting] = attrs.field(factory=list, init=False)
    _running: _Batch | None = attrs.field(default=None, init=False)
    _late: list[_Batch] = attrs.field(factory=list, init=False)
    _watching: bool = attrs.field(default=False, init=False)

    def commit(self, message: Publication) -> Deferred[None]:
        """Publish a message with the next batch.

        @return: fires when its copies are durable, or fails with its C{error}; then there are none.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append((message, done))
        self._begin()
        return done

    def _begin(self) -> None:
        if not self._waiting:
            return
        if self._running is not None:
            self._watch(self._running)
        elif self._lanes and (messages := self._take()):
            batch = self._running = _Batch(messages, self._lanes.pop())  # the threads that were at work last
            published = batch.lane.run_in_thread(
                publish, self._files, [message for message, _ in messages], batch.lane.spread
            )
            published.addBoth(self._settle, batch)

    def _take(self) -> list[_Waiting]:
        """The next batch, out of what waits."""
        ready, held_up = self._sorted_out() if self._late else (self._waiting, [])
        copies = end = 0
        while copies < BATCH_LIMIT and end < len(ready):
            copies += len(ready[end][0].entries)
            end += 1
        batch, self._waiting = ready[:end], held_up + ready[end:]
        return batch

    def _sorted_out(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """What waits: what need not wait for any late batch, and the rest."""
        slow = {path for batch in self._late for path in batch.held_up_at}
        sorted_out: tuple[list[_Waiting], list[_Waiting]] = [], []
        for each in self._waiting:
            sorted_out[any(entry.mailbox.path in slow for entry in each[0].entries)].append(each)
        return sorted_out

    def _watch(self, batch: _Batch) -> None:
        """See later whether C{batch} has ended, unless another is being watched: one clock does for all."""
        if not self._watching and self._call_later is not None:
            self._watching = True
            self._call_later(PATIENCE, self._look, batch)

    def _look(self, batch: _Batch) -> None:
        self._watching = False
        if batch is self._running:
            self._running = None
            self._late.append(batch)
        self._begin()

    def _settle(self, result: object, batch: _Batch) -> None:
        self._lanes.append(batch.lane)
        if batch is self._running:
            self._running = None
        else:
            self._late.remove(batch)
        self._begin()  # the disk need not wait until all are told
        for message, done in batch.messages:
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
