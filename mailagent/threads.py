"""Threads for what blocks, and the way there from the reactor's thread and back.

Twisted's C{ThreadPool} does the same, with a context, a lock and several objects for each job: in a message's way they
cost as much of the processor as its system calls. Here a job is put into a queue of C's, and the results that come
while the reactor is busy are brought to it together, as to wake it costs more than most of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: Who waits for the result, if anybody does; a function, and its arguments.
_Job = tuple[Deferred[Any] | None, Callable[..., Any], tuple[Any, ...]]


class Threads(Protocol):
    """Those that are ended together.

    @ivar working: how many have a job.
    """

    @property
    def working(self) -> int: ...

    def stop(self) -> None:
        """Finish what waits, and end; blocks until then. Jobs that come later are not done."""


@attrs.frozen
class Together:
    """Several sets of L{Threads} as one."""

    _sets: Sequence[Threads]

    @property
    def working(self) -> int:
        """See L{Threads}."""
        return sum(each.working for each in self._sets)

    def stop(self) -> None:
        """See L{Threads}."""
        for each in self._sets:
            each.stop()


class DaemonThreads:
    """At most so many threads, made as they are needed; what they have no time for waits. They may hang, on a name
    server or a disk: daemons (C{Thread.daemon}), so that this does not outlast a stop.

    @param name: what each is called, for who looks at the process.
    @param most: threads at the same time.
    @ivar stopped: whether they take no more jobs.
    @param reactor: in whose thread results are heard of; C{callFromThread} is all that is used of it.
    """

    def __init__(self, name: str, most: int, reactor: Any) -> None:
        self._name = name
        self._most = most
        self._reactor = reactor
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = Lock()  # over all that follows
        self._unfinished = 0
        self._threads: list[Thread] = []
        self._results: list[tuple[Deferred[Any], Any]] = []
        self.stopped = False

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call C{function} in a thread. From the reactor's thread.

        @return: fires there with the result, or with what was raised; never, where the threads had been stopped.
        """
        done: Deferred[Any] = Deferred()
        self._put((done, function, args))
        return done

    def call_in_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call C{function} in a thread, from any thread. Nobody hears of what it returns or raises."""
        self._put((None, function, args))

    @property
    def working(self) -> int:
        """Threads that have a job."""
        return min(self._unfinished, len(self._threads))

    def stop(self) -> None:
        """Finish what waits, and end; blocks until then. Jobs that come later are not done."""
        with self._lock:
            first, self.stopped = not self.stopped, True
        if first:
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _put(self, job: _Job) -> None:
        with self._lock:
            if self.stopped:
                return
            if self._unfinished >= len(self._threads) < self._most:
                thread = Thread(target=self._work, name=self._name, daemon=True)
                thread.start()
                self._threads.append(thread)
            self._unfinished += 1
            self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(*job)
            del job  # or it would stay, with all it holds, until there is another

    def _do(self, done: Deferred[Any] | None, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = function(*args)
        except BaseException:
            result = Failure()
        with self._lock:
            self._unfinished -= 1
            if done is not None:
                self._results.append((done, result))
            wake = done is not None and len(self._results) == 1
        if wake:
            self._reactor.callFromThread(self._tell)

    def _tell(self) -> None:
        """Have the results heard of."""
        with self._lock:
            results, self._results = self._results, []
        for done, result in results:
            done.callback(result)
