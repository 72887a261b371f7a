"""The one thread that writes.

All jobs that wait while a commit runs share the next transaction, so that many of them cost one synchronisation; so do
those of one turn of the reactor. If one of them fails, none of it is kept: each is run again, in a transaction of its
own, and fails alone. What is no job's own fault fails all of them, as each alone would take as long as they did
together. So a job may run twice, and does nothing but use its connection; only after the commit does anybody hear of
its result.

Jobs of one kind that wait together can be done as one (L{Batched}), where the first of them would have been: many rows
by one statement cost little more than one row. Those that take what no other node has in hand come last (L{Last}).

If no transaction can begin at all (another process holds the database, or it is away), all that waits fails. What
another node's transaction stood in the way of, and what a connection that broke ahead of the commit has undone, is run
again a few times. Where it broke in the commit, nobody knows whether that was kept: all of it fails, and is not run
again here. Who has it run again sees to it that this does no harm.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from mailagent.database.transaction import TRIES
from mailagent.database.trouble import Conflict, DatabaseLost, TooSlow, trouble
from mailagent.interfaces import StorageFailed

_T = TypeVar("_T")
_Thing = TypeVar("_Thing")

#: Jobs done as one, at most: a statement has only so many parameters.
BATCH = 100


@attrs.frozen
class Batched(Generic[_Thing, _T]):
    """A job for one thing, that is done for several at once where such jobs wait together.

    @ivar work: does it for all of these things, each of which has a result, in their order.
    """

    work: Callable[[sa.Connection, Sequence[_Thing]], Sequence[_T]]
    thing: _Thing

    def __call__(self, connection: sa.Connection) -> _T:
        return self.work(connection, [self.thing])[0]


@attrs.frozen
class Last(Generic[_T]):
    """A job that passes over what other nodes have locked, and waits for none: done once all others of its transaction
    have waited for what they wanted, so that it keeps nothing from those nodes meanwhile."""

    work: Callable[[sa.Connection], _T]

    def __call__(self, connection: sa.Connection) -> _T:
        return self.work(connection)


@attrs.define(eq=False)
class _Request:
    """A job, who waits for its result (the reactor's thread, or another), and the result: returned, or raised."""

    job: Callable[[sa.Connection], Any]
    caller: Deferred[Any] | Future[Any]
    result: Any = None
    error: Exception | None = None
    ended: bool = False

    def end(self, result: Any, error: Exception | None = None) -> None:
        """There is a result."""
        self.result, self.error, self.ended = result, error, True

    def answer(self) -> None:
        """Give the result to the caller, unless nobody waits any more."""
        caller = self.caller
        if isinstance(caller, Future):
            caller.set_result(self.result) if self.error is None else caller.set_exception(self.error)
        elif not caller.called:
            caller.callback(self.result) if self.error is None else caller.errback(self.error)


class Writer:
    """See the module.

    @param engine: from L{mailagent.database.engine.for_writing}.
    @param reactor: in whose thread the C{Deferred}s fire; C{callFromThread} and C{callLater} are what is used of it.
    """

    def __init__(self, engine: sa.Engine, reactor: Any) -> None:
        self._engine = engine
        self._reactor = reactor
        self._requests: queue.SimpleQueue[list[_Request] | None] = queue.SimpleQueue()  # C{None} is the end
        self._collected: list[_Request] = []  # in this turn of the reactor
        self._lock = Lock()  # between putting requests and the end of all requests
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to take jobs."""
        # A daemon: it may hang on a disk that does not answer, and that must not keep the process from its end.
        self._thread = Thread(target=self._work, name="database writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end; blocks until then. Jobs that come later fail."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                collected, self._collected = self._collected, []
                if collected:
                    self._requests.put(collected)
                self._requests.put(None)
        if thread is not None:
            thread.join()
            self._engine.dispose()

    def run(self, job: Callable[[sa.Connection], _T]) -> Deferred[_T]:
        """Have C{job} done, from the reactor's thread. The C{Deferred} fails with what the job raised, or with
        L{StorageFailed} or L{mailagent.interfaces.StorageFull}; it cannot be cancelled, only left alone."""
        done: Deferred[_T] = Deferred(lambda _: None)
        with self._lock:
            self._collected.append(_Request(job, done))
            first = len(self._collected) == 1
        if first:  # both threads want the interpreter: let this turn come to its end, and hand over all of it
            self._reactor.callLater(0, self._hand_over)
        return done

    def _hand_over(self) -> None:
        with self._lock:
            collected, self._collected = self._collected, []
        self._put(collected)

    def call(self, job: Callable[[sa.Connection], _T]) -> _T:
        """Have C{job} done, and wait for it: for any thread but the reactor's and a job's.

        @raise StorageFailed: the database cannot take it (L{mailagent.interfaces.StorageFull}: for want of room).
        @raise Exception: what the job raised.
        """
        result: Future[_T] = Future()
        self._put([_Request(job, result)])
        return result.result()

    def _put(self, requests: list[_Request]) -> None:
        with self._lock:
            running = self._thread is not None
            if running:
                self._requests.put(requests)
        if not running:
            _fail(requests, StorageFailed("the database's writer has stopped"))
            self._answer(requests)

    def _answer(self, requests: Sequence[_Request]) -> None:
        """Answer all; those in the reactor's thread by one call, as it is to wake it that costs."""
        for request in requests:
            if isinstance(request.caller, Future):
                request.answer()
        if deferred := [request for request in requests if isinstance(request.caller, Deferred)]:
            self._reactor.callFromThread(_answer_all, deferred)

    def _work(self) -> None:
        while (first := self._requests.get()) is not None:
            requests = [*first, *self._waiting()]
            try:
                self._transact(requests)
            except Exception as error:  # no transaction could begin, or the connection not be given back
                _fail([request for request in requests if not request.ended], error)
            self._answer(requests)

    def _waiting(self) -> list[_Request]:
        """What waits, up to the end if that is among it."""
        requests: list[_Request] = []
        with suppress(queue.Empty):
            while (more := self._requests.get_nowait()) is not None:
                requests += more
            self._requests.put(None)
        return requests

    def _transact(self, requests: Sequence[_Request], tries: int = TRIES) -> None:
        """Do the jobs of C{requests} in one transaction; if one of them fails, each in its own.

        @raise StorageFailed: no transaction can begin; nothing has been told to those whose job was not done.
        """
        committing = False
        with self._connected() as connection:
            with trouble():
                transaction = connection.begin()
            try:
                with trouble(), transaction:
                    results = _do(connection, requests)
                    committing = True
            except Exception as error:
                lost = isinstance(error, DatabaseLost)
                again = tries > 1 and isinstance(error, Conflict | DatabaseLost) and not (lost and committing)
                if not again and (len(requests) == 1 or isinstance(error, Conflict | DatabaseLost | TooSlow)):
                    return _fail(requests, error)
            else:
                for request in requests:
                    request.end(results[request])
                return None
        if again:
            return self._transact(requests, tries - 1)
        for request in requests:
            self._transact([request])
        return None

    def _connected(self) -> sa.Connection:
        with trouble():
            return self._engine.connect()


def _do(connection: sa.Connection, requests: Sequence[_Request]) -> dict[_Request, Any]:
    """Do the jobs, those of a kind as one; returns what each has returned."""
    kinds: dict[object, list[_Request]] = {}
    for request in sorted(requests, key=lambda request: isinstance(request.job, Last)):
        kinds.setdefault(request.job.work if isinstance(request.job, Batched) else request, []).append(request)
    results: dict[_Request, Any] = {}
    for alike in kinds.values():
        for start in range(0, len(alike), BATCH):
            some = alike[start : start + BATCH]
            results |= zip(some, _do_batch(connection, [request.job for request in some]), strict=True)
    return results


def _do_batch(connection: sa.Connection, jobs: Sequence[Callable[[sa.Connection], Any]]) -> Sequence[Any]:
    """Do jobs of one kind; there is only one, unless they are L{Batched}."""
    first = jobs[0]
    if isinstance(first, Batched):
        return first.work(connection, [job.thing for job in jobs if isinstance(job, Batched)])
    return [first(connection)]


def _fail(requests: Sequence[_Request], error: Exception) -> None:
    for request in requests:
        request.end(None, error)


def _answer_all(requests: Sequence[_Request]) -> None:
    for request in requests:
        request.answer()
