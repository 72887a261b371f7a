"""Threads for what blocks."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import current_thread
from typing import Any

from mailagent.threads import daemon_pool, in_pool


class Reactor:
    """The reactor's side, played: what threads have for it waits here."""

    def __init__(self) -> None:
        self.calls: Queue[Callable[[], Any]] = Queue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.calls.put(lambda: function(*args))


def test_a_job_is_done_in_a_daemon_and_its_result_comes_in_the_reactors_thread() -> None:
    reactor, pool, results = Reactor(), daemon_pool("jobs", 1), list[tuple[bool, int]]()
    pool.start()
    in_pool(reactor, pool)(lambda number: (current_thread().daemon, number), 7).addCallback(results.append)
    tell = reactor.calls.get()
    assert results == []
    tell()
    assert results == [(True, 7)]
    pool.stop()
