"""The scheduler on a real database: which nodes live, and what becomes of what the others had in hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from mailagent.config.values import Duration
from mailagent.database.hung import LOOK
from mailagent.queue.items import QueuedItem
from mailagent.queue.scheduler import POLL, STRAY
from mailagent.queue.store import Store
from mailagent.queue.store_nodes import LEASE
from tests.database.kinds import only_postgresql, only_sqlite
from tests.database.support import Database
from tests.queue.site import Site, all_told, running
from tests.queue.support import STORED, message

HOUR, DAY = 3600.0, 86400.0
HEARTBEAT, ADOPT = LEASE / 4, LEASE / 2


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    with running(database) as site:
        yield site


def test_the_node_says_that_it_lives(site: Site) -> None:
    site.database.execute("UPDATE nodes SET heartbeat = 0")
    site.clock.advance(HEARTBEAT)
    assert site.database.rows("SELECT heartbeat FROM nodes")[0] > 0


def test_what_a_dead_node_had_in_hand_is_taken_up(site: Site) -> None:
    site.enqueue(message("m1", "bob@there.example"))
    site.database.execute("INSERT INTO nodes (id, name, version, started, heartbeat) VALUES ('dead', 'dead', '', 0, 0)")
    site.database.execute("UPDATE recipients SET lease_node = 'dead', lease_token = 'x'")
    site.clock.advance(POLL)
    assert not site.courier.attempts
    site.after(ADOPT)
    assert site.states() == ["delivered"]


def test_after_an_outage_the_others_have_time_to_say_that_they_live(site: Site) -> None:
    site.enqueue(message("m1", "bob@there.example"))
    site.database.execute(
        "INSERT INTO nodes (id, name, version, started, heartbeat) VALUES ('other', 'other', '', 0, 0)"
    )
    site.database.execute("UPDATE recipients SET lease_node = 'other', lease_token = 'x'")
    site.away = True
    site.clock.pump([1.0] * 25)  # before we look for the first time
    site.clock.pump([1.0] * int(LEASE))
    site.away = False
    site.clock.pump([1.0] * int(ADOPT))
    assert not site.courier.attempts
    site.clock.pump([1.0] * int(HEARTBEAT + ADOPT))
    assert site.states() == ["delivered"]


def test_what_a_claim_took_whose_answer_was_lost_is_taken_up(site: Site) -> None:
    site.enqueue(message("m1", "bob@there.example"))
    site.unanswered = True
    site.scheduler.wake()
    site.unanswered = False
    assert (site.leased(), site.courier.attempts) == (1, [])
    site.after(2 * STRAY, 1.0)
    assert site.states() == ["delivered"]


def test_what_is_in_hand_for_long_is_not_tried_again(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.after(4 * STRAY, 1.0)
    assert len(site.courier.attempts) == 1
    site.close()
    assert site.states() == ["delivered"]


def test_what_we_had_in_hand_when_we_ended_is_taken_up(database: Database) -> None:
    before = Site(database)
    before.courier.otherwise = before.left_open
    before.enqueue(message("m1", "bob@there.example"))
    before.start()
    assert before.leased() == 1
    with running(database) as site:
        assert site.states() == ["delivered"]


def paused(site: Site) -> list[QueuedItem]:
    """Let the node be silent for longer than its lease, and another take up the oldest of what it has in hand."""
    site.database.execute("UPDATE nodes SET heartbeat = heartbeat - 61 WHERE id = 'here'")
    other = Store("there", "mx2.example.org")
    site.database.write(other.start)
    site.database.write(other.adopt)
    return site.database.write(other.claim, site.clock.seconds(), 1)


def test_a_node_that_was_paused_drops_what_others_have_taken_up(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    [item] = paused(site)
    site.clock.advance(HEARTBEAT)
    assert len(site.logged("lease_lost")) == 1
    assert site.database.read(site.store.still_leased, item)
    [(_, done)] = site.open
    assert done.called  # cancelled
    assert site.states() == ["queued"]


def test_a_node_whose_id_another_process_takes_leaves_it_with_all_it_had(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    copy = Store("here", "mx2.example.org")
    site.database.write(copy.start)
    [item] = site.database.write(copy.claim, site.clock.seconds(), 1)
    site.clock.advance(HEARTBEAT)
    [event] = site.logged("node_id_taken")
    assert event["id"] == "here"
    assert sorted(site.database.rows("SELECT id FROM nodes")) == sorted(["here", event["new"]])
    [(_, done)] = site.open
    assert done.called  # cancelled
    site.clock.advance(HEARTBEAT)
    assert len(site.logged("node_id_taken")) == 1
    assert site.database.write(copy.beat) is None
    assert site.database.read(copy.still_leased, item)
    site.courier.otherwise = all_told(STORED)
    site.enqueue(message("m2", "bob@elsewhere.example"))
    site.scheduler.wake()
    assert site.states() == ["queued", "delivered"]


def test_a_process_that_starts_again_as_this_node_has_at_once_what_was_leased_to_it(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    assert site.database.write(Store("here").start) == 1


def test_a_node_that_was_paused_goes_on_with_what_nobody_has_taken_up(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.database.execute("UPDATE nodes SET heartbeat = heartbeat - 61 WHERE id = 'here'")
    site.clock.advance(HEARTBEAT)
    site.close()
    assert site.states() == ["delivered"]
    assert not site.logged("lease_lost")


def test_what_is_written_down_when_a_late_heartbeat_is_answered_is_not_lost(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    site.database.execute("UPDATE nodes SET heartbeat = heartbeat - 61 WHERE id = 'here'")
    answers: list[Deferred[None]] = []
    site.late = answers
    site.close()
    site.clock.advance(HEARTBEAT)
    site.late = None
    for answer in reversed(answers):  # what was settled is not leased any more when the heartbeat looks
        answer.callback(None)
    assert len(site.logged("recipient_delivered")) == 1
    assert not site.logged("lease_lost")


def test_a_node_that_was_paused_says_that_it_lives_before_it_takes_more(site: Site) -> None:
    site.clock.rightNow += LEASE  # as a process does that was stopped: nothing that was due has been done
    site.database.execute("UPDATE nodes SET heartbeat = 0")
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    assert site.states() == ["delivered"]
    assert site.database.rows("SELECT heartbeat FROM nodes")[0] > 0


def test_a_node_that_ends_says_so(database: Database) -> None:
    with running(database) as site:
        assert site.database.rows("SELECT lease FROM nodes") == [60.0]
    assert database.rows("SELECT lease FROM nodes") == [0.0]


def test_a_node_that_waits_for_its_attempts_to_end_says_that_it_lives(site: Site) -> None:
    site.courier.otherwise = site.left_open
    site.enqueue(message("m1", "bob@there.example"))
    site.scheduler.wake()
    stopped = site.scheduler.stop(10 * LEASE)
    site.database.execute("UPDATE nodes SET heartbeat = 0")
    site.after(4 * LEASE, HEARTBEAT)
    assert site.database.write(Store("there").adopt) == 0
    site.close()
    assert (stopped.called, site.states()) == (True, ["delivered"])
    assert site.database.rows("SELECT lease FROM nodes") == [0.0]


def test_how_long_a_node_may_be_silent_is_what_the_settings_say_now(site: Site) -> None:
    site.settings = type(site.settings)(lease=Duration(20.0))
    site.after(HEARTBEAT)
    assert site.database.rows("SELECT lease FROM nodes") == [20.0]
    site.database.execute("UPDATE nodes SET heartbeat = 0")
    site.clock.advance(5.0)
    assert site.database.rows("SELECT heartbeat FROM nodes")[0] > 0


@only_postgresql
def test_transactions_of_the_silent_are_ended_however_long_a_lease_is(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.settings = type(site.settings)(lease=Duration(HOUR))
    monkeypatch.setattr(Store, "end_hung", lambda store, connection: ["192.0.2.7"])
    site.after(3 * LOOK, LOOK)
    assert [event["address"] for event in site.logged("transaction_ended")] == ["192.0.2.7"] * 3


@only_sqlite
def test_a_file_has_no_other_nodes(site: Site) -> None:
    site.after(HEARTBEAT)
    assert not site.logged("transaction_ended")
    assert not site.logged("error")
