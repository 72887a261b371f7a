"""Waiting for a database that is away."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar, cast

import pytest
import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger

from mailagent.interfaces import StorageFailed, StorageFull
from mailagent.queue.access import LONGEST_PAUSE, Access
from tests.deferreds import result

_T = TypeVar("_T")


class Even(Random):
    """No jitter."""

    def random(self) -> float:
        return 0.5


class Office:
    """An access, and the database behind it, which fails with C{trouble} while there is any."""

    def __init__(self, random: Random | None = None) -> None:
        random = random or Even()
        self.clock = Clock()
        self.trouble: Exception | None = None
        self.tries: list[float] = []
        self.events: list[LogEvent] = []
        log = Logger("test", observer=cast(ILogObserver, self.events.append))
        self.access = Access(self._run, self.clock, "written", log, random)

    def _run(self, job: Callable[[sa.Connection], _T]) -> Deferred[_T]:
        self.tries.append(self.clock.seconds())
        if self.trouble is not None:
            return fail(self.trouble)
        return succeed(job(cast(Any, None)))

    def insist(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self.access.insist(lambda _: "done"))

    def logged(self) -> list[object]:
        return [event["event"] for event in self.events]


@pytest.fixture
def office() -> Office:
    return Office()


def test_without_trouble_it_is_done_at_once(office: Office) -> None:
    assert result(office.insist()) == "done"
    assert office.logged() == []


@pytest.mark.parametrize("trouble", [StorageFailed("away"), StorageFull("full")])
def test_in_trouble_it_is_tried_with_growing_pauses(office: Office, trouble: Exception) -> None:
    office.trouble = trouble
    done = office.insist()
    office.clock.pump([1.0] * 300)
    assert not done.called
    assert office.tries[:8] == [0, 1, 3, 7, 15, 31, 63, 63 + LONGEST_PAUSE]
    office.trouble = None
    office.clock.pump([1.0] * 60)
    assert result(done) == "done"


def test_those_who_wait_do_not_all_come_back_together() -> None:
    tries = []
    for seed in range(3):
        office = Office(Random(seed))
        office.trouble = StorageFailed("away")
        office.insist()
        office.clock.pump([0.01] * 150)
        tries.append(office.tries[1])
    assert len(set(tries)) == 3
    assert all(0.9 <= each <= 1.11 for each in tries)


def test_the_log_has_beginning_and_end_of_trouble_once(office: Office) -> None:
    office.trouble = StorageFailed("away")
    both = [office.insist(), office.insist()]
    office.clock.pump([1.0] * 100)
    office.trouble = None
    office.clock.pump([1.0] * 60)
    assert [result(each) for each in both] == ["done", "done"]
    assert office.logged() == ["queue_trouble", "queue_recovered"]
    assert office.events[0]["reason"] == "away"


def test_what_is_not_the_databases_trouble_is_not_repeated(office: Office) -> None:
    office.trouble = ValueError("a defect")
    failures: list[object] = []
    office.insist().addErrback(lambda failure: failures.append(failure.value))
    assert failures == [office.trouble]
    assert (len(office.tries), office.logged()) == (1, [])


def test_once_is_once(office: Office) -> None:
    office.trouble = StorageFailed("away")
    failures: list[object] = []
    Deferred.fromCoroutine(office.access.once(lambda _: None)).addErrback(lambda it: failures.append(it.value))
    assert failures == [office.trouble]
    assert office.logged() == ["queue_trouble"]


def test_waiting_can_be_cancelled(office: Office) -> None:
    office.trouble = StorageFailed("away")
    done = office.insist()
    done.cancel()
    failures: list[object] = []
    done.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [CancelledError]
    assert not office.clock.getDelayedCalls()
