"""The scheduler on a real database: what has waited too long, and what is not needed any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailagent.queue import reporter
from mailagent.queue.lanes import FIRST
from mailagent.queue.store_nodes import LEASE
from mailagent.queue.sweep import SOME, SWEEP
from tests.database.support import Database
from tests.queue.site import Site, all_told, running
from tests.queue.support import LATER, NEVER, message

HOUR, DAY = 3600.0, 86400.0
HEARTBEAT, ADOPT = LEASE / 4, LEASE / 2


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    with running(database) as site:
        yield site


def test_what_has_waited_too_long_is_given_up_wherever_it_waits(database: Database) -> None:
    with running(database, give_up=DAY, retry_most=30 * DAY) as site:
        site.courier.script["dead.example"] = all_told(LATER, hold=30 * DAY)
        site.enqueue(*(message(f"m{number}", "bob@dead.example") for number in range(3)))
        site.scheduler.wake()
        site.after(DAY - 1, 3600)
        assert site.states()[:3] == ["queued"] * 3
        site.after(1 + SWEEP)
        assert site.states()[:3] == ["expired"] * 3
        assert len(site.logged("recipient_expired")) == 3
        assert site.courier.at("dead.example") <= FIRST


def test_what_waited_through_an_outage_is_tried_before_it_is_given_up(database: Database) -> None:
    site = Site(database, give_up=DAY)
    many = [message(f"m{number}", "bob@there.example") for number in range(20)]
    site.enqueue(*many)
    site.clock.advance(2 * DAY)
    site.start()
    site.after(2 * SWEEP, 1)
    assert site.states() == ["delivered"] * 20
    site.scheduler.stop(0.0)


def test_more_than_is_taken_up_at_once_is_given_up_all_the_same(database: Database) -> None:
    with running(database, give_up=HOUR, retry_most=DAY) as site:
        site.courier.script["dead.example"] = all_told(LATER, hold=DAY)
        site.enqueue(*(message(f"m{number}", "bob@dead.example") for number in range(2 * SOME + 1)))
        site.after(HOUR + SWEEP, HOUR)
        assert site.states()[: 2 * SOME + 1] == ["expired"] * (2 * SOME + 1)


def test_what_a_defect_keeps_from_being_given_up_is_not_taken_up_without_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(reporter, "compose", broken)
    with running(database, give_up=HOUR) as site:
        site.courier.otherwise = all_told(LATER, hold=DAY)
        site.enqueue(message("m1", "bob@dead.example"))
        site.after(HOUR - 60)
        assert not site.logged("error")
        site.after(2 * SWEEP)
        assert 0 < len(site.logged("error")) <= 6
        assert (site.states(), site.leased()) == (["queued"], 0)


def test_of_a_delay_the_sender_hears_once(site: Site) -> None:
    site.courier.script["there.example"] = all_told(LATER)
    site.enqueue(message("m1", "bob@there.example"))
    site.after(4 * HOUR - 1, 600)
    assert len(site.reports()) == 0
    site.after(2 * SWEEP)
    assert [to for _, to in site.reports()] == ["ann@example.org"]
    site.after(DAY, 1800)
    assert len(site.reports()) == 1
    assert site.states()[0] == "queued"


def test_in_the_end_the_sender_hears_that_it_was_given_up(database: Database) -> None:
    with running(database, give_up=6 * HOUR) as site:
        site.courier.script["there.example"] = all_told(LATER)
        site.enqueue(message("m1", "bob@there.example"))
        site.after(6 * HOUR + SWEEP, 300)
        assert site.states() == ["expired", "delivered", "delivered"]
        assert [to for _, to in site.reports()] == ["ann@example.org"] * 2
        assert len(site.logged("recipient_expired")) == 1


def test_an_attempt_that_is_deferred_too_late_is_the_last(database: Database) -> None:
    with running(database, give_up=HOUR) as site:
        site.courier.script["there.example"] = site.left_open
        site.enqueue(message("m1", "bob@there.example"))
        site.scheduler.wake()
        site.after(HOUR)
        site.close(LATER)
        assert site.states() == ["expired", "delivered"]


def test_a_bounce_that_bounces_goes_to_the_postmaster_once(site: Site) -> None:
    site.courier.otherwise = all_told(NEVER)
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.clock.advance(0)
    assert [to for _, to in site.reports()] == ["ann@example.org", "postmaster@mx.example.org"]
    assert site.states() == ["failed"] * 3


def test_of_a_delayed_bounce_nobody_hears(site: Site) -> None:
    site.courier.script = {"there.example": all_told(NEVER), "example.org": all_told(LATER)}
    site.enqueue(message("m1", "bob@there.example"))
    site.after(DAY, 300)
    assert [to for _, to in site.reports()] == ["ann@example.org"]


def test_history_is_kept_for_its_time(database: Database) -> None:
    with running(database, keep=HOUR) as site:
        site.enqueue(message("m1", "bob@there.example"))
        site.after(HOUR - 60)
        assert site.states() == ["delivered"]
        site.after(3 * SWEEP)
        assert site.states() == []
