"""The scheduler on a real database: when what is tried, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.outcome import Outcome
from mailagent.interfaces import Attempted
from mailagent.queue.access import LONGEST_PAUSE
from mailagent.queue.items import QueuedItem
from mailagent.queue.lanes import FIRST, Allowance
from mailagent.queue.retry import JITTER
from mailagent.queue.scheduler import AGAIN, CLAIMED, POLL
from mailagent.queue.store import Store
from mailagent.queue.store_nodes import LEASE
from tests.database.kinds import only_postgresql
from tests.database.support import Database
from tests.queue.site import Site, all_told, running
from tests.queue.support import HOP, LATER, NEVER, STORED, message

HOUR, DAY = 3600.0, 86400.0
HEARTBEAT, ADOPT = LEASE / 4, LEASE / 2


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    with running(database) as site:
        yield site


def test_what_is_enqueued_is_tried_at_once(site: Site) -> None:
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    [attempt] = site.courier.attempts
    assert (attempt.message_id, attempt.destination, attempt.login) == ("m1", "there.example", "ann")
    assert site.states() == ["delivered"]


def test_what_another_process_enqueues_is_seen_soon(site: Site) -> None:
    site.enqueue(message("m1", "bob@there.example"))
    assert not site.courier.attempts
    site.clock.advance(POLL)
    assert site.states() == ["delivered"]


def test_it_is_seen_as_soon_while_something_else_waits_for_its_time(site: Site) -> None:
    site.courier.script["there.example"] = all_told(LATER)
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.enqueue(message("m2", "eve@elsewhere.example"))
    site.clock.advance(POLL)
    assert site.courier.at("elsewhere.example") == 1


def test_a_deferred_message_is_tried_when_it_is_due(site: Site) -> None:
    site.courier.otherwise = all_told(LATER)
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    for attempts, seconds in enumerate((300, 600, 1200, 2400, 4800, 9600, 14400, 14400), 1):
        assert site.courier.at("there.example") == attempts
        due = site.due()[0]
        assert 0.9 * seconds <= due <= 1.1 * seconds
        site.after(due - 1, 600)
        assert site.courier.at("there.example") == attempts
        site.after(1.5)


def test_settings_are_those_of_the_moment(site: Site) -> None:
    site.courier.otherwise = all_told(LATER)
    site.settings = type(site.settings)(retry_first=site.settings.retry_most)
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    assert site.due()[0] > 12000


def test_a_destination_begins_with_few_messages(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(*(message(f"m{number}", "bob@there.example") for number in range(10)))
    site.scheduler.wake()
    assert len(site.open) == FIRST


def test_what_arrives_lets_more_follow(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(*(message(f"m{number}", "bob@there.example") for number in range(50)))
    site.scheduler.wake()
    seen = []
    for _ in range(5):
        site.close()
        seen.append(len(site.open))
    assert seen == [4, 8, 16, 20, 20]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each claim gives from now on."""
    claims: list[int] = []
    claim = Store.claim

    def counting(self: Store, *given: Any) -> list[QueuedItem]:
        found = claim(self, *given)
        claims.append(len(found))
        return found

    monkeypatch.setattr(Store, "claim", counting)
    return claims


def test_what_ends_together_makes_room_for_one_claim(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(*(message(f"m{number}", "bob@there.example") for number in range(50)))
    site.scheduler.wake()
    for _ in range(4):
        site.close()
    claims = counted(monkeypatch)
    for _ in range(3):
        _, done = site.open.pop(0)
        done.callback(Attempted((Outcome(Address("bob", "there.example"), STORED, HOP),)))
    site.clock.advance(0)
    assert claims == [3]


def test_no_more_are_on_their_way_than_the_settings_say(database: Database) -> None:
    with running(database, deliveries=3) as site:
        site.courier.otherwise = site.left_open
        site.enqueue(*(message(f"m{number}", f"bob@there{number}.example") for number in range(5)))
        site.scheduler.wake()
        assert len(site.open) == 3
        site.close()
        assert len(site.open) == 3


def test_a_claim_takes_no_more_than_the_rest_can_wait_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = counted(monkeypatch)
    with running(database) as site:
        site.enqueue(*(message(f"m{number}", f"bob@there{number}.example") for number in range(CLAIMED + 10)))
        site.scheduler.wake()
    assert (sum(claims), max(claims)) == (CLAIMED + 10, CLAIMED)


def test_a_message_with_very_many_recipients_takes_no_more_room(database: Database) -> None:
    with running(database, deliveries=1) as site:
        site.courier.otherwise = site.left_open
        site.enqueue(message("m1", *(f"user{number}@there.example" for number in range(250))))
        site.scheduler.wake()
        for left in (2, 1, 0):
            assert len(site.open) == 1
            site.close()
            assert site.states().count("queued") == max(0, 100 * left - 50)
        assert set(site.states()) == {"delivered"}


def enqueue_for_the_dead_and_one_for_the_living(site: Site) -> None:
    site.enqueue(*(message(f"m{number}", "bob@dead.example") for number in range(1000)))
    site.enqueue(message("living", "bob@living.example"))
    site.scheduler.wake()


def test_a_dead_destination_does_not_delay_a_living_one(site: Site) -> None:
    site.courier.script["dead.example"] = all_told(LATER, hold=HOUR)
    enqueue_for_the_dead_and_one_for_the_living(site)
    assert site.courier.at("living.example") == 1
    assert site.courier.at("dead.example") <= FIRST
    site.after(HOUR - 60)
    assert site.courier.at("dead.example") <= FIRST


def test_a_destination_that_does_not_answer_does_not_delay_a_living_one(database: Database) -> None:
    with running(database, deliveries=FIRST + 1) as site:
        site.courier.script["dead.example"] = site.left_open
        enqueue_for_the_dead_and_one_for_the_living(site)
        assert site.courier.at("living.example") == 1
        assert site.courier.at("dead.example") == FIRST


def test_after_a_hold_one_message_is_tried_alone(site: Site) -> None:
    site.courier.script["dead.example"] = all_told(LATER, hold=HOUR)
    site.enqueue(*(message(f"m{number}", "bob@dead.example") for number in range(10)))
    site.scheduler.wake()
    site.courier.script["dead.example"] = site.left_open
    site.after(HOUR + 60)
    assert len(site.open) == 1


@only_postgresql
def test_what_another_node_has_locked_for_a_moment_is_looked_at_again_soon(site: Site) -> None:
    site.enqueue(message("m1", "bob@there.example"))
    with site.database.engine.begin() as other:
        other.exec_driver_sql("SELECT * FROM destinations FOR UPDATE")
        site.scheduler.wake()
        assert not site.courier.attempts
    site.clock.advance(AGAIN)
    assert site.states() == ["delivered"]


@only_postgresql
def test_it_is_not_looked_at_without_a_pause(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.enqueue(message("m1", "bob@there.example"))
    claims = counted(monkeypatch)
    with site.database.engine.begin() as other:
        other.exec_driver_sql("SELECT * FROM destinations FOR UPDATE")
        site.clock.pump([AGAIN / 2] * 200)
    assert len(claims) <= 16


def test_a_stop_waits_for_what_is_being_tried(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    stopped = site.scheduler.stop(30.0)
    assert not stopped.called
    site.close()
    assert stopped.called
    assert site.states() == ["delivered"]


def test_what_takes_longer_than_a_stop_is_cancelled_and_given_back(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    stopped = site.scheduler.stop(30.0)
    site.clock.advance(29)
    assert (stopped.called, site.leased()) == (False, 1)
    site.clock.advance(1)
    assert (stopped.called, site.leased()) == (True, 0)
    assert site.database.rows("SELECT attempts FROM recipients") == [0]
    assert site.database.read(site.store.next_ready, 0.0) is not None


def test_a_courier_that_ends_well_at_a_stop_has_delivered(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    stopped = site.scheduler.stop(30.0)
    site.open[0][1]._canceller = lambda _: site.close()
    site.clock.advance(30)
    assert stopped.called
    assert site.states() == ["delivered"]


def test_after_a_stop_nothing_is_taken_up(site: Site) -> None:
    assert site.scheduler.stop(30.0).called
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.after(HOUR)
    assert not site.courier.attempts


def test_a_database_that_is_away_at_the_start_is_waited_for(database: Database) -> None:
    site = Site(database)
    site.enqueue(message("m1", "bob@there.example"))
    site.away = True
    site.start()
    site.after(HOUR)
    site.away = False
    site.after(LONGEST_PAUSE * (1 + JITTER))
    assert site.states() == ["delivered"]
    assert (len(site.logged("queue_trouble")), len(site.logged("queue_recovered"))) == (1, 1)
    assert site.scheduler.stop(0.0).called


def test_a_stop_does_not_wait_for_a_database_that_never_came(database: Database) -> None:
    site = Site(database)
    site.away = True
    site.start()
    assert site.scheduler.stop(30.0).called
    assert not site.clock.getDelayedCalls()


def test_after_an_hour_without_a_database_all_goes_on(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"), message("m2", "eve@elsewhere.example"))
    site.scheduler.wake()
    site.away = True
    site.close()
    site.close(NEVER)
    site.after(HOUR)
    site.courier.otherwise = all_told(STORED)
    site.away = False
    site.after(120)
    assert sorted(site.states()) == ["delivered", "delivered", "failed"]
    assert len(site.courier.attempts) == 3
    assert len(site.reports()) == 1
    verbs = [event["verb"] for event in site.logged("queue_trouble")]
    assert set(verbs) - {"told that we live"} == {"written"}  # heartbeats have their own way
    assert sorted(verbs) == sorted({event["verb"] for event in site.logged("queue_recovered")})


def test_a_stop_while_the_database_is_away_ends_in_time(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.away = True
    site.close()
    stopped = site.scheduler.stop(30.0)
    site.after(29)
    assert not stopped.called
    site.after(1)
    assert stopped.called


def test_what_was_delivered_when_the_database_went_is_written_down_at_the_stop(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.away = True
    site.close()
    stopped = site.scheduler.stop(0.5)
    site.away = False  # between two tries
    site.clock.advance(0.5)
    assert stopped.called
    assert (site.states(), site.leased()) == (["delivered"], 0)


def test_a_destination_that_others_fill_is_looked_at_once_a_second(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = 0

    def crowded(self: Store, connection: Any, now: float, *given: Any) -> list[QueuedItem]:
        nonlocal claims
        claims += 1
        given[-1].add("there.example")
        return []

    monkeypatch.setattr(Store, "claim", crowded)
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.after(9 * POLL, 0.25)
    assert claims == 10


@only_postgresql
def test_where_others_fill_both_ends_what_is_between_them_goes(database: Database) -> None:
    with running(database, deliveries=1) as site:
        site.allowance = Allowance(most=1)
        other = Store("there")
        database.write(other.start)
        for number, place in enumerate(["first.example", "middle.example", "last.example"]):
            both = [message(f"{place}{one}", f"bob@{place}") for one in range(2)]
            database.write(other.insert, both, b"", site.clock.seconds() - 9 + number)
        now = site.clock.seconds()
        filled = database.write(other.claim, now, 2, busy=["middle.example"], window=1)
        assert sorted(item.destination for item in filled) == ["first.example", "last.example"]
        site.after(2 * POLL, POLL)
        assert [attempt.destination for attempt in site.courier.attempts] == ["middle.example"] * 2


def test_mail_goes_at_the_rate_of_its_destination(database: Database) -> None:
    with running(database) as site:
        site.allowance = Allowance(pace=20.0)
        site.enqueue(*(message(f"m{number}", "bob@there.example") for number in range(5)))
        site.scheduler.wake()
        seen = []
        for _ in range(4):
            seen.append(site.courier.at("there.example"))
            site.after(20.0, 1.0)
        assert seen == [1, 2, 3, 4]
        site.allowance = Allowance()
        site.after(21.0, 1.0)
        assert site.courier.at("there.example") == 5
