"""What is done again and again."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from mailagent.interfaces import StorageFailed
from mailagent.queue.chores import Chores
from mailagent.queue.under_way import UnderWay


class Site:
    """A chore that remembers when it was done."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.under_way = UnderWay(Logger("test"))
        self.chores = Chores(self.clock, self.under_way)
        self.every = 10.0
        self.done: list[float] = []
        self.open: Deferred[None] | None = None

    async def work(self) -> None:
        self.done.append(self.clock.seconds())
        if self.open is not None:
            await self.open

    def add(self, first: float | None = None, now: bool = False) -> None:
        self.chores.add(self.work, lambda: self.every, first, now)

    def after(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)


@pytest.fixture
def site() -> Site:
    return Site()


def test_it_is_done_every_so_many_seconds(site: Site) -> None:
    assert not site.chores
    site.add()
    assert site.chores
    site.after(30)
    assert site.done == [10, 20, 30]


def test_the_first_time_may_be_another_one(site: Site) -> None:
    site.add(first=3.0)
    site.after(10)
    assert site.done == [3, 10]


def test_it_may_be_done_at_once(site: Site) -> None:
    site.add(now=True)
    site.after(10)
    assert site.done == [0, 10]


def test_how_often_is_asked_each_time(site: Site) -> None:
    site.add()
    site.after(9)
    site.every = 5.0
    site.after(11)
    assert site.done == [10, 15, 20]


def test_it_is_not_begun_again_before_its_end(site: Site) -> None:
    site.open = Deferred()
    site.add()
    site.after(25)
    assert (site.done, len(site.under_way)) == ([10], 1)
    site.open.callback(None)
    site.after(5)
    assert (site.done, len(site.under_way)) == ([10, 30], 0)


@pytest.mark.parametrize("error", [StorageFailed("away"), ZeroDivisionError()])
def test_what_fails_is_done_again(site: Site, error: Exception) -> None:
    site.open = Deferred()
    site.add()
    site.after(10)
    site.open.errback(error)
    site.open = None
    site.after(10)
    assert site.done == [10, 20]


def test_a_stop_leaves_nothing_to_come(site: Site) -> None:
    site.add()
    site.add(now=True)
    site.chores.stop()
    assert not site.clock.getDelayedCalls()
