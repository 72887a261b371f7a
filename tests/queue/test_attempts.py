"""What comes of one attempt, whatever the courier does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail

from mailagent.envelope.address import Address
from mailagent.envelope.notify import Notify
from mailagent.envelope.outcome import Outcome
from mailagent.interfaces import Attempt, Attempted, DestinationBusy, LeaseLost, StorageFailed
from mailagent.queue import reporter
from mailagent.queue.store_claim import SMALL
from mailagent.queue.store_nodes import LEASE
from tests.database.support import Database
from tests.deferreds import result
from tests.queue.site import Answer, Site, all_told, raising, running
from tests.queue.support import HOP, LATER, NEVER, STORED, message

BOB, EVE = Address("bob", "there.example"), Address("eve", "there.example")


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    with running(database) as site:
        yield site


def each_by_name(attempt: Attempt) -> Attempted:
    """Bob gets it, Eve never will, all others perhaps later."""
    replies = {"bob": STORED, "eve": NEVER}
    outcomes = (Outcome(each, replies.get(each.local, LATER), HOP) for each in attempt.envelope.recipients)
    return Attempted(tuple(outcomes))


def send(site: Site, answer: Answer, *to: str, notify: dict[Address, Notify] | None = None) -> None:
    site.courier.script["there.example"] = answer
    site.enqueue(message("m1", *(to or (str(BOB),)), notify=notify))
    site.scheduler.wake()


def report(site: Site, number: int = 0) -> bytes:
    """The content of a report."""
    [body] = site.database.rows(f"SELECT body FROM messages WHERE id = '{site.reports()[number][0]}'")
    assert isinstance(body, bytes)
    return body


def hold_reports(site: Site) -> None:
    """Keep reports in the queue, with their content."""
    site.courier.script["example.org"] = all_told(LATER)


def test_each_recipient_goes_its_own_way(site: Site) -> None:
    send(site, each_by_name, "bob@there.example", "eve@there.example", "ann@there.example")
    assert site.states()[:3] == ["delivered", "failed", "queued"]


def test_an_attempt_reads_the_message(site: Site) -> None:
    send(site, site.left_open)

    async def read() -> bytes:
        return b"".join([piece async for piece in site.open[0][0].content()])

    assert result(Deferred.fromCoroutine(read())) == b"Received: here\nSubject: hello\n\nbody\n"
    site.close()


def test_several_failures_of_an_attempt_are_one_report(site: Site) -> None:
    hold_reports(site)
    send(site, all_told(NEVER), "bob@there.example", "eve@there.example")
    assert [to for _, to in site.reports()] == ["ann@example.org"]
    assert report(site).count(b"\nAction: failed\n") == 2


def test_success_that_was_asked_for_is_told_with_the_delivery(site: Site) -> None:
    hold_reports(site)
    send(site, all_told(STORED, notice="relayed"), notify={BOB: Notify(frozenset({"SUCCESS"}))})
    assert b"\nAction: relayed\n" in report(site)


def test_nothing_is_told_where_nothing_was_to_be(site: Site) -> None:
    send(site, all_told(NEVER), notify={BOB: Notify(frozenset({"NEVER"}))})
    assert (site.states(), site.reports()) == (["failed"], [])


def test_the_header_goes_back_with_a_failure(site: Site) -> None:
    hold_reports(site)
    send(site, all_told(NEVER))
    assert b"\n\nReceived: here\nSubject: hello\n\n--" in report(site)


def test_a_message_whose_content_is_lost_is_reported_all_the_same(site: Site) -> None:
    hold_reports(site)
    site.courier.script["there.example"] = site.left_open
    site.enqueue(message("m1", str(BOB)), body=b"Subject: hello\n\n" + b"x" * SMALL)  # so that it is read only then
    site.scheduler.wake()
    site.database.execute("UPDATE messages SET body = NULL")
    site.close(NEVER)
    assert b"\n\nReceived: here\n\n--" in report(site)


def test_a_hold_is_the_destinations(site: Site) -> None:
    send(site, all_told(LATER, hold=600.0))
    assert site.database.rows("SELECT held_until, reason FROM destinations WHERE name = 'there.example'") == [
        (site.clock.seconds() + 600, "451 4.3.0 later")
    ]
    site.enqueue(message("m2", "bob@there.example"))
    site.after(599)
    assert site.courier.at("there.example") == 1
    [event] = site.logged("destination_held")
    assert (event["destination"], event["seconds"]) == ("there.example", 600)


def test_a_busy_destination_is_no_attempt(site: Site) -> None:
    send(site, raising(DestinationBusy(30)))
    assert site.database.rows("SELECT attempts, lease_token FROM recipients") == [(0, None)]
    assert site.database.rows("SELECT * FROM attempts") == []
    site.courier.script.clear()
    site.after(29)
    assert site.courier.at("there.example") == 1
    site.after(2)
    assert site.states() == ["delivered"]


def test_a_destination_that_is_busy_for_no_time_is_not_asked_at_once(site: Site) -> None:
    send(site, raising(DestinationBusy(0)))
    assert site.courier.at("there.example") == 1


def test_a_lost_lease_changes_nothing(site: Site) -> None:
    send(site, raising(LeaseLost()))
    assert (site.states(), site.leased(), site.reports()) == (["queued"], 1, [])
    assert len(site.logged("lease_lost")) == 1


def unheard_of(site: Site) -> None:
    """Until we cannot say that we live for so long that another node may take us for dead."""
    site.away = True
    site.after(LEASE / 2, LEASE / 4)
    site.away = False


def test_the_database_is_not_asked_for_a_lease_that_nobody_takes_from_a_node_that_lives(site: Site) -> None:
    send(site, site.left_open)
    site.after(2 * LEASE, LEASE / 4)
    site.away = True
    assert result(site.open[0][0].still_ours()) is True
    site.after(LEASE / 2 - 1, LEASE / 4)
    assert result(site.open[0][0].still_ours()) is True
    site.away = False
    site.close()


def test_a_courier_hears_whether_the_message_is_still_ours(site: Site) -> None:
    send(site, site.left_open)
    still_ours = site.open[0][0].still_ours
    unheard_of(site)
    assert result(still_ours()) is True
    site.database.execute("UPDATE recipients SET lease_token = 'other'")
    assert result(still_ours()) is False
    site.clock.advance(LEASE / 4)
    site.close()


def test_what_came_of_an_attempt_is_not_written_over_anothers(site: Site) -> None:
    send(site, site.left_open)
    site.database.execute("UPDATE recipients SET lease_token = 'other'")
    site.close(NEVER)
    assert (site.states(), site.reports()) == (["queued"], [])
    assert len(site.logged("lease_lost")) == 1
    assert not site.logged("recipient_failed")


@pytest.mark.parametrize("answer", [all_told(LATER, hold=600.0), raising(DestinationBusy(600))])
def test_who_has_lost_the_lease_holds_nothing(site: Site, answer: Answer) -> None:
    def late(attempt: Attempt) -> Attempted | Deferred[Attempted]:
        site.database.execute("UPDATE recipients SET lease_token = 'other'")
        return answer(attempt)

    send(site, late)
    assert site.database.rows("SELECT held_until FROM destinations") == [0]
    assert site.database.rows("SELECT * FROM holds") == []
    assert len(site.logged("lease_lost")) == 1
    assert not site.logged("destination_held")


@pytest.mark.parametrize(
    "answer",
    [
        raising(RuntimeError("a defect")),
        raising(StorageFailed("away")),
        raising(CancelledError()),
        lambda attempt: fail(RuntimeError("a defect")),
        lambda attempt: Attempted(()),
    ],
)
def test_a_courier_that_breaks_has_deferred_the_message(site: Site, answer: Answer) -> None:
    send(site, answer)
    assert site.database.rows("SELECT state, attempts, reply_code, reply_status FROM recipients") == [
        ("queued", 1, 451, "4.3.0")
    ]
    assert len(site.logged("error")) == 1
    assert site.due()[0] > 200


def test_after_a_defect_of_ours_what_was_delivered_is_not_delivered_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(reporter, "compose", broken)
    send(site, each_by_name, "bob@there.example", "eve@there.example")
    assert (site.states(), site.leased()) == (["delivered", "queued"], 0)
    assert site.due()[1] == site.settings.retry_most


def test_the_log_tells_each_recipients_outcome(site: Site) -> None:
    send(site, each_by_name, "bob@there.example", "eve@there.example", "joe@there.example")
    [event] = site.logged("recipient_delivered")[:1]
    facts = {name: event[name] for name in ("id", "recipient", "host", "address", "tls", "reply", "attempts", "delay")}
    assert facts == {
        "id": "m1",
        "recipient": "bob@there.example",
        "host": "mx.there.example",
        "address": "192.0.2.1",
        "tls": "TLS 1.3",
        "reply": "250 2.0.0 stored",
        "attempts": 1,
        "delay": 0.0,
    }
    assert [event["recipient"] for event in site.logged("recipient_failed")] == ["eve@there.example"]
    assert [event["recipient"] for event in site.logged("recipient_deferred")] == ["joe@there.example"]
    assert [event["recipient"] for event in site.logged("report_queued")] == ["ann@example.org"]
