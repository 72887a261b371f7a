"""Work under way."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, Logger

from mailagent.queue.under_way import UnderWay, ended


class Site:
    """Work that ends when C{ends[key]} is fired."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []
        self.under_way = UnderWay(Logger("test", observer=cast(ILogObserver, self.events.append)))
        self.ends: dict[object, Deferred[None]] = {}
        self.over: list[object] = []

    async def _work(self, key: object) -> None:
        await self.ends[key]

    def begin(self, key: object) -> Deferred[None]:
        self.ends[key] = Deferred()
        return self.under_way.begin(self._work(key), key, lambda: self.over.append(key))


@pytest.fixture
def site() -> Site:
    return Site()


def test_what_has_ended_is_not_under_way(site: Site) -> None:
    done = site.begin("one")
    site.begin("other")
    site.ends["one"].callback(None)
    assert done.called
    assert (site.over, list(site.under_way.keys), len(site.under_way)) == (["one"], ["other"], 1)
    site.ends["other"].callback(None)
    assert not site.under_way


def test_what_ends_at_once_never_was(site: Site) -> None:
    async def work() -> None:
        assert len(site.under_way) == 1

    assert site.under_way.begin(work()).called
    assert not site.under_way
    assert not site.events


def test_what_fails_is_told_and_over(site: Site) -> None:
    site.begin("one")
    site.ends["one"].errback(ZeroDivisionError())
    assert site.over == ["one"]
    assert [type(event["log_failure"].value) for event in site.events] == [ZeroDivisionError]


def test_what_is_called_off_is_over_without_a_word(site: Site) -> None:
    done = site.begin("one")
    site.begin("other")
    site.under_way.cancel(["one", "unknown"])
    assert done.called
    assert (site.over, site.events) == (["one"], [])


def test_all_may_be_called_off(site: Site) -> None:
    site.begin("one")
    site.begin("other")
    site.under_way.cancel(site.under_way.keys)
    assert not site.under_way


def test_to_wait_for_all_is_to_wait_for_what_is_begun_meanwhile(site: Site) -> None:
    site.begin("one")
    rest = Deferred.fromCoroutine(site.under_way.rest())
    site.begin("other")
    site.ends["one"].callback(None)
    assert not rest.called
    site.ends["other"].callback(None)
    assert rest.called


def test_one_that_waits_for_all_from_within_begins_to_wait(site: Site) -> None:
    rests: list[Deferred[None]] = []

    async def work() -> None:
        rests.append(Deferred.fromCoroutine(site.under_way.rest()))
        assert not rests[0].called

    site.under_way.begin(work())
    assert rests[0].called


def test_some_have_ended_when_all_of_them_have(site: Site) -> None:
    some = [site.begin("one"), site.begin("other")]
    site.begin("third")
    done = Deferred.fromCoroutine(ended(some))
    site.ends["one"].errback(ZeroDivisionError())
    assert not done.called
    site.ends["other"].callback(None)
    assert done.called
