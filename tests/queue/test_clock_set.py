"""Somebody sets the clock while mail waits: it may wait longer or be given up, but is not lost, nor stays for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailagent.queue import sweep
from mailagent.queue.sweep import FIRST_SWEEP, SWEEP
from tests.database.support import Database
from tests.queue.site import Site, all_told, running
from tests.queue.support import LATER, STORED, message

HOUR, DAY = 3600.0, 86400.0
YEAR = 365 * DAY
THERE = "there.example"


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    with running(database) as site:
        site.courier.script[THERE] = all_told(LATER)
        site.enqueue(message("m1", f"bob@{THERE}"))
        site.scheduler.wake()
        yield site


def assert_new_mail_goes(site: Site) -> None:
    site.enqueue(message("new", "eve@elsewhere.example"))
    site.scheduler.wake()
    assert site.courier.at("elsewhere.example") == 1


def test_forward_by_a_year_what_waits_is_given_up_and_reported(site: Site) -> None:
    site.wrong = YEAR
    site.after(SWEEP)
    assert site.states() == ["expired", "delivered"]
    assert [to for _, to in site.reports()] == ["ann@example.org"]
    assert_new_mail_goes(site)


@pytest.mark.parametrize("back", [DAY, YEAR])
def test_back_what_waits_is_tried_soon_all_the_same(site: Site, back: float) -> None:
    site.wrong = -back
    site.courier.script[THERE] = all_told(STORED)
    assert_new_mail_goes(site)
    site.after(2 * SWEEP)
    assert site.states() == ["delivered"] * 2


def test_back_a_hold_of_the_wrong_time_ends(database: Database) -> None:
    with running(database) as site:
        site.wrong = YEAR
        site.courier.script[THERE] = all_told(LATER, hold=HOUR)
        site.enqueue(message("m1", f"bob@{THERE}"))
        site.scheduler.wake()
        site.wrong = 0.0
        site.courier.script[THERE] = all_told(STORED)
        site.after(2 * SWEEP)
        assert site.states() == ["delivered"]
        assert site.database.rows("SELECT held_until FROM destinations") in ([], [0.0])


def test_back_holds_of_the_wrong_time_end_however_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SOME", 2)
    with running(database) as site:
        site.enqueue(message("m1", *(f"bob@{number}.example" for number in range(5))))
        database.execute("UPDATE destinations SET held_until = 9e9, ready = 9e9")
        with database.statements() as statements:
            site.after(FIRST_SWEEP)
        assert len([words for words, _ in statements if "held_until > " in words]) == 3  # of two, two and one
        site.scheduler.wake()
        assert site.states() == ["delivered"] * 5


def test_a_retry_in_its_time_is_not_hastened(site: Site) -> None:
    (due,) = site.due()
    site.after(2 * SWEEP)
    assert site.due() == [due - 2 * SWEEP]
    assert site.courier.at(THERE) == 1


def test_what_is_under_way_while_the_clock_is_set_is_settled(site: Site) -> None:
    site.courier.script["slow.example"] = site.left_open
    site.enqueue(message("m2", "joe@slow.example"))
    site.scheduler.wake()
    site.wrong = -DAY
    site.close(STORED)
    assert site.states()[1] == "delivered"
    assert site.database.rows("SELECT seconds FROM attempts WHERE code = 250") == [0.0]
