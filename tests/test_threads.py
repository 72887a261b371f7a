"""Threads for what blocks."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Barrier, Event, Lock, current_thread
from typing import Any

import pytest
from twisted.python.failure import Failure

from mailagent.threads import DaemonThreads, Together


class Reactor:
    """The reactor's side, played: what threads have for it waits here."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.calls.put(lambda: function(*args))

    def turn(self) -> None:
        self.calls.get(timeout=30)()


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def threads(reactor: Reactor) -> Iterator[DaemonThreads]:
    threads = DaemonThreads("jobs", 2, reactor)
    yield threads
    threads.stop()


def test_a_job_is_done_in_a_daemon_and_its_result_comes_in_the_reactors_thread(
    reactor: Reactor, threads: DaemonThreads
) -> None:
    results: list[tuple[bool, str, int]] = []
    threads.run(lambda number: (current_thread().daemon, current_thread().name, number), 7).addCallback(results.append)
    tell = reactor.calls.get(timeout=30)
    assert results == []
    tell()
    assert results == [(True, "jobs", 7)]


def test_what_a_job_raises_comes_as_a_failure_and_the_thread_lives_on(reactor: Reactor, threads: DaemonThreads) -> None:
    failures: list[Failure] = []
    for _ in range(3):
        threads.run(int, "no number").addErrback(failures.append)
        reactor.turn()
    assert [failure.type for failure in failures] == [ValueError] * 3
    assert threads.working == 0


def test_the_results_that_come_while_the_reactor_is_busy_are_one_call_for_it(
    reactor: Reactor, threads: DaemonThreads
) -> None:
    results: list[int] = []
    for number in range(5):
        threads.run(int, number).addCallback(results.append)
    threads.stop()
    reactor.turn()
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert reactor.calls.empty()


def test_there_are_no_more_threads_than_allowed_and_no_more_than_needed(threads: DaemonThreads) -> None:
    lock, met, together = Lock(), Barrier(2, timeout=30), set[int]()

    def job() -> None:
        with lock:
            together.add(id(current_thread()))
        met.wait()

    for _ in range(6):
        threads.call_in_thread(job)
    threads.stop()
    assert len(together) == 2


def test_one_job_after_the_other_needs_one_thread(reactor: Reactor, threads: DaemonThreads) -> None:
    by: set[int | None] = set()
    for _ in range(5):
        threads.run(lambda: current_thread().ident).addCallback(by.add)
        reactor.turn()
    assert len(by) == 1


def test_a_stop_finishes_what_waits_and_later_jobs_are_not_done(threads: DaemonThreads) -> None:
    go_on, done = Event(), list[int]()

    def job(number: int) -> None:
        go_on.wait()
        done.append(number)

    for number in range(5):
        threads.call_in_thread(job, number)
    assert threads.working == 2
    go_on.set()
    threads.stop()
    threads.call_in_thread(done.append, 5)
    threads.stop()
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert threads.stopped


def test_several_sets_are_counted_and_stopped_together(reactor: Reactor) -> None:
    go_on, sets = Event(), [DaemonThreads("jobs", 2, reactor) for _ in range(2)]
    together = Together(sets)
    for each in (*sets, sets[0]):
        each.call_in_thread(go_on.wait)
    assert together.working == 3
    go_on.set()
    together.stop()
    assert together.working == 0
    assert all(each.stopped for each in sets)


def test_a_thread_without_a_job_holds_nothing_of_the_last(reactor: Reactor, threads: DaemonThreads) -> None:
    class Content:
        pass

    content = Content()
    gone = weakref.ref(content)
    threads.run(id, content)
    reactor.turn()
    threads.run(int)  # by the same thread, which has then left the first behind
    del content
    reactor.turn()
    gc.collect()
    assert gone() is None
