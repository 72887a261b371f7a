"""The one thread that writes.

All jobs that wait while a commit runs share the next transaction, so that many of them cost one synchronisation. If
one of them fails, none of it is kept: each is run again, in a transaction of its own, and fails alone. So a job may run
twice, and does nothing but use its connection; only after the commit does anybody hear of its result.

If no transaction can begin at all (another process holds the database, or it is away), all that waits fails.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from mailagent.database.trouble import trouble
from mailagent.interfaces import StorageFailed

_T = TypeVar("_T")


@attrs.frozen(eq=False)
class _Entry:
    """A job, and where its result goes: an exception, or what it returned."""

    job: Callable[[sa.Connection], Any]
    result: Future[Any] = attrs.field(factory=Future)


class Writer:
    """See the module.

    @param engine: from L{mailagent.database.engine.for_writing}.
    @param reactor: in whose thread the C{Deferred}s fire; C{callFromThread} is all that is used of it.
    """

    def __init__(self, engine: sa.Engine, reactor: Any) -> None:
        self._engine = engine
        self._reactor = reactor
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._lock = Lock()  # between putting an entry and the end of all entries
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
                self._entries.put(None)
        if thread is not None:
            thread.join()
            self._engine.dispose()

    def run(self, job: Callable[[sa.Connection], _T]) -> Deferred[_T]:
        """Have C{job} done, from the reactor's thread. The C{Deferred} fails with what the job raised, or with
        L{StorageFailed} or L{mailagent.interfaces.StorageFull}; it cannot be cancelled, only left alone."""
        done: Deferred[_T] = Deferred(lambda _: None)
        self._put(job).add_done_callback(lambda result: self._reactor.callFromThread(_tell, done, result))
        return done

    def call(self, job: Callable[[sa.Connection], _T]) -> _T:
        """Have C{job} done, and wait for it: for any thread but the reactor's and a job's.

        @raise StorageFailed: the database cannot take it (L{mailagent.interfaces.StorageFull}: for want of room).
        @raise Exception: what the job raised.
        """
        return self._put(job).result()

    def _put(self, job: Callable[[sa.Connection], _T]) -> Future[_T]:
        entry = _Entry(job)
        with self._lock:
            running = self._thread is not None
            if running:
                self._entries.put(entry)
        if not running:
            entry.result.set_exception(StorageFailed("the database's writer has stopped"))
        return entry.result

    def _work(self) -> None:
        while (first := self._entries.get()) is not None:
            entries = [first, *self._waiting()]
            try:
                self._transact(entries)
            except Exception as error:  # not even the connection could be given back; whoever waits must hear of it
                _fail([entry for entry in entries if not entry.result.done()], error)

    def _waiting(self) -> list[_Entry]:
        """What waits, up to the end if that is among it."""
        entries: list[_Entry] = []
        with suppress(queue.Empty):
            while (entry := self._entries.get_nowait()) is not None:
                entries.append(entry)
            self._entries.put(None)
        return entries

    def _transact(self, entries: Sequence[_Entry]) -> None:
        """Do the jobs of C{entries} in one transaction; if that fails, each in its own."""
        try:
            with trouble():
                connection = self._engine.connect()
        except Exception as error:
            return _fail(entries, error)
        with connection:
            try:
                with trouble():
                    transaction = connection.begin()
            except Exception as error:
                return _fail(entries, error)
            try:
                with trouble(), transaction:
                    results = [entry.job(connection) for entry in entries]
            except Exception as error:
                if len(entries) == 1:
                    return _fail(entries, error)
            else:
                for entry, result in zip(entries, results, strict=True):
                    entry.result.set_result(result)
                return None
        for entry in entries:
            self._transact([entry])
        return None


def _fail(entries: Sequence[_Entry], error: Exception) -> None:
    for entry in entries:
        entry.result.set_exception(error)


def _tell(done: Deferred[_T], result: Future[_T]) -> None:
    """Fire a C{Deferred}, unless it was cancelled."""
    if done.called:
        return
    error = result.exception()
    if error is None:
        done.callback(result.result())
    else:
        done.errback(error)
