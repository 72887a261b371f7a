"""What becomes of an attempt, over servers in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from twisted.internet.defer import CancelledError, succeed

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.interfaces import DestinationBusy, LeaseLost, StorageFailed
from tests.relay.internet import ANN, BOB, CONTENT, EVE, ONE, TWO, Internet, attempt, replies, to_ann
from tests.smtp.outgoing_server import DROP, OK, SILENCE

TO_BOTH = attempt(Envelope(EVE, (ANN, BOB)))


def test_a_message_goes_to_the_best_server() -> None:
    internet = Internet({ONE: {}, TWO: {}})
    attempted = internet.deliver()
    (outcome,) = attempted.outcomes
    assert outcome.delivered
    assert (outcome.hop.host, outcome.hop.address) == ("one", ONE)
    assert attempted.hold == 0
    assert internet.tried == [(ONE, 25)]
    assert internet.heard(0)[:2] == ["EHLO us.example", "MAIL FROM:<eve@here.example>"]
    assert internet.connections[0].server.messages == [b"Subject: x\r\n\r\ntext"]


@pytest.mark.parametrize(
    ("domain", "reply", "hold"),
    [("gone.example", "550 5.1.2", 0), ("null.example", "556 5.1.10", 0), ("broken.example", "451 4.4.3", 60)],
)
def test_what_the_dns_says_is_the_outcome(domain: str, reply: str, hold: float) -> None:
    internet = Internet({}, names={"null.example": ["0 ."], "broken.example": "trouble"})
    attempted = internet.deliver(to_ann(destination=domain))
    assert [each[: len(reply)] for each in replies(attempted)] == [reply]
    assert attempted.hold == hold
    assert internet.tried == []


# Before MAIL

REFUSALS: list[Mapping[str, str] | None] = [
    None,
    {"greeting": "554 5.3.2 Go away"},
    {"greeting": "421 4.3.2 Busy"},
    {"greeting": DROP},
    {"greeting": "what?"},
    {"EHLO": "550 5.7.1 Not you", "HELO": "550 5.7.1 Not you"},
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_before_mail_has_the_next_server_tried(refusal: Mapping[str, str] | None) -> None:
    internet = Internet({TWO: {}} | ({} if refusal is None else {ONE: refusal}))
    attempted = internet.deliver()
    assert replies(attempted) == [OK]
    assert attempted.outcomes[0].hop.host == "two"
    assert internet.places == [ONE, TWO]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_before_mail_by_all_defers_and_holds(refusal: Mapping[str, str] | None) -> None:
    internet = Internet({} if refusal is None else {ONE: refusal, TWO: refusal})
    attempted = internet.deliver(TO_BOTH)
    assert all(outcome.deferred for outcome in attempted.outcomes)
    assert [outcome.recipient for outcome in attempted.outcomes] == [ANN, BOB]
    # Where the server has said nothing, the words are ours, and no report takes them for the server's.
    said = refusal is not None and not {DROP, "what?"} & set(refusal.values())
    assert {outcome.hop.host for outcome in attempted.outcomes} == {"two" if said else ""}
    assert {outcome.hop.address for outcome in attempted.outcomes} == {TWO}
    assert attempted.hold == 60


def test_a_held_destination_is_not_tried() -> None:
    internet = Internet({})
    internet.deliver()
    tried = len(internet.tried)
    internet.clock.advance(20)
    with pytest.raises(DestinationBusy) as caught:
        internet.deliver()
    assert caught.value.seconds == 40
    assert len(internet.tried) == tried


def test_domains_of_the_same_servers_are_one_destination() -> None:
    names = {"d.example": ["10 one"], "e.example": ["5 one"], "one": [ONE], "f.example": ["5 two"], "two": [TWO]}
    internet = Internet({TWO: {}}, names=names)
    internet.deliver()
    with pytest.raises(DestinationBusy):
        internet.deliver(to_ann(destination="e.example"))
    assert replies(internet.deliver(to_ann(destination="f.example"))) == [OK]


def test_every_address_of_a_server_is_tried() -> None:
    internet = Internet({TWO: {}}, names={"d.example": ["10 one"], "one": [ONE, TWO]})
    assert replies(internet.deliver()) == [OK]
    assert internet.places == [ONE, TWO]


# From MAIL on


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "."])
def test_a_permanent_refusal_of_the_message_is_final(at: str) -> None:
    internet = Internet({ONE: {at: "550 5.7.1 No"}, TWO: {}})
    assert replies(internet.deliver()) == ["550 5.7.1 No"]
    assert internet.places == [ONE]


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "."])
def test_a_transient_refusal_of_all_has_the_next_host_tried_once(at: str) -> None:
    names = {
        "d.example": ["1 one", "2 two", "3 three"],
        "one": [ONE, "192.0.2.11"],
        "two": [TWO],
        "three": ["192.0.2.3"],
    }
    internet = Internet({ONE: {at: "451 4.7.1 Later"}, TWO: {at: "450 4.7.1 Later"}}, names=names)
    attempted = internet.deliver()
    assert replies(attempted) == ["450 4.7.1 Later"]
    assert internet.places == [ONE, TWO]
    assert attempted.hold == 0


def test_a_transient_refusal_stands_where_no_other_server_is_there() -> None:
    internet = Internet({ONE: {"RCPT": "451 4.7.1 Later"}})
    attempted = internet.deliver()
    assert replies(attempted) == ["451 4.7.1 Later"]
    assert attempted.outcomes[0].hop.host == "one"
    assert attempted.hold == 0


def test_a_transient_refusal_of_some_is_theirs() -> None:
    internet = Internet({ONE: {"RCPT TO:<ann": "451 4.2.0 Later"}, TWO: {}})
    assert replies(internet.deliver(TO_BOTH)) == ["451 4.2.0 Later", OK]
    assert internet.places == [ONE]


def test_a_connection_lost_before_the_content_has_the_next_host_tried() -> None:
    internet = Internet({ONE: {"MAIL": DROP}, TWO: {}})
    assert replies(internet.deliver()) == [OK]


def test_a_connection_lost_after_the_content_is_not_tried_elsewhere_now() -> None:
    """It may have been taken; the queue tries again later, and that is a duplicate less."""
    internet = Internet({ONE: {".": DROP}, TWO: {}})
    attempted = internet.deliver()
    assert attempted.outcomes[0].deferred
    assert internet.places == [ONE]


def test_what_cannot_be_asked_any_more_does_not_send_a_message_that_may_have_been_taken_elsewhere() -> None:
    internet = Internet({ONE: {"EHLO": "250-mx\r\n250 LIMITS RCPTMAX=1 MAILMAX=1", ".": DROP}, TWO: {}})
    attempted = internet.deliver(TO_BOTH)
    assert all(outcome.deferred for outcome in attempted.outcomes)
    assert internet.places == [ONE]


def test_a_server_that_takes_few_recipients_gets_several_transactions() -> None:
    internet = Internet({ONE: {"EHLO": "250-mx\r\n250 LIMITS RCPTMAX=2"}})
    recipients = tuple(Address(f"u{number}", "d.example") for number in range(5))
    attempted = internet.deliver(attempt(Envelope(EVE, recipients)))
    assert replies(attempted) == [OK] * 5
    assert [outcome.recipient for outcome in attempted.outcomes] == list(recipients)
    lines = internet.heard(0)
    assert [line[:4] for line in lines].count("MAIL") == 3
    assert len(internet.connections) == 1


def test_what_was_delivered_stands_where_the_message_cannot_be_read_for_the_others() -> None:
    internet = Internet({ONE: {"EHLO": "250-mx\r\n250 LIMITS RCPTMAX=2"}})
    readings: list[int] = []

    async def content() -> AsyncIterator[bytes]:
        readings.append(1)
        if len(readings) > 1:
            raise StorageFailed("away")
        yield CONTENT

    recipients = tuple(Address(f"u{number}", "d.example") for number in range(5))
    attempted = internet.deliver(attempt(Envelope(EVE, recipients), content=content))
    assert replies(attempted) == [OK] * 2 + ["451 4.3.0 Local error in processing, try again later"] * 3
    assert [outcome.recipient for outcome in attempted.outcomes] == list(recipients)


def test_a_lost_lease_is_told_and_sends_nothing() -> None:
    internet = Internet({ONE: {}})
    with pytest.raises(LeaseLost):
        internet.deliver(to_ann(still_ours=lambda: succeed(False)))
    assert internet.connections[0].server.messages == []


def test_cancelling_ends_the_connection_and_frees_the_place() -> None:
    internet = Internet({ONE: {"MAIL": SILENCE}})
    for _ in range(5):  # more than go at once
        results = internet.begin(to_ann())
        internet.stop()
        assert isinstance(results[0], CancelledError)
    assert all(connection.wire.disconnected for connection in internet.connections)
    assert len(internet.connections) == 5


# How many at a time


def test_only_so_many_go_at_once_and_the_next_waits_for_its_turn() -> None:
    internet = Internet({ONE: {"MAIL": SILENCE}, TWO: {}})
    first, second, third = (internet.begin(to_ann()) for _ in range(3))
    assert len(internet.connections) == 2
    internet.clock.advance(5)
    (busy,) = third
    assert isinstance(busy, DestinationBusy)
    assert first == second == []
    internet.stop()


def test_each_message_decided_on_makes_room_for_one_more() -> None:
    internet = Internet({ONE: {}, TWO: {}})
    internet.deliver()
    internet.servers[ONE] = {"MAIL": SILENCE}
    internet.clock.advance(5)
    internet.run()
    for _ in range(4):
        internet.begin(to_ann())
    assert len(internet.connections) == 1 + 3
    internet.stop()
