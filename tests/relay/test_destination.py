"""How much one destination gets at a time."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from mailagent.config.outbound import RelaySettings
from mailagent.config.values import Count
from mailagent.interfaces import DestinationBusy
from mailagent.relay import destination as module
from mailagent.relay.destination import PATIENCE, Destination, Destinations


class Attempts:
    """Attempts at one destination, and what became of their wish to begin."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.settings = RelaySettings(connections=Count(4))
        self.settings = attrs.evolve(self.settings, **settings)
        self.destination = Destination(self.clock, lambda: self.settings)

    def enter(self, urgent: bool = False) -> list[Any]:
        """Filled once it is known: C{None}, or seconds to come again in."""
        result: list[Any] = []

        def busy(failure: Any) -> Any:
            failure.trap(DestinationBusy)
            return failure.value.seconds

        self.destination.enter(urgent).addErrback(busy).addCallback(result.append)
        return result

    def begun(self, count: int) -> int:
        """How many of so many begin at once."""
        return [self.enter() for _ in range(count)].count([None])


def test_two_go_at_first_and_each_that_does_well_makes_room_for_one_more() -> None:
    attempts = Attempts()
    assert attempts.begun(3) == 2
    for window in (3, 4, 4):
        attempts.destination.did_well()
        assert attempts.destination.window == window


def test_a_failure_halves_the_window() -> None:
    attempts = Attempts()
    for _ in range(2):
        attempts.destination.did_well()
    for window in (2, 1, 1):
        attempts.destination.failed()
        assert attempts.destination.window == window


def test_a_setting_lowered_counts_at_once() -> None:
    attempts = Attempts()
    attempts.settings = attrs.evolve(attempts.settings, connections=Count(1))
    assert attempts.begun(2) == 1


def test_who_waits_goes_when_another_leaves() -> None:
    attempts = Attempts()
    attempts.begun(2)
    third, fourth = attempts.enter(), attempts.enter()
    attempts.destination.leave()
    assert (third, fourth) == ([None], [])


def test_those_sent_away_do_not_all_come_again_at_once() -> None:
    attempts = Attempts()
    attempts.begun(2 + 50)
    told = [seconds for _ in range(300) for seconds in attempts.enter()]
    assert told[0] == 2
    assert told == sorted(told)
    assert told[-1] == pytest.approx(2 + 299 / 100)
    for _ in range(10_000):
        [last] = attempts.enter()
    assert last == 60


def test_who_waits_too_long_is_told_to_come_again() -> None:
    attempts = Attempts()
    attempts.begun(2)
    third = attempts.enter()
    attempts.clock.advance(PATIENCE)
    assert third == [2.0]
    attempts.destination.leave()
    assert attempts.begun(1) == 1


def test_only_so_many_wait() -> None:
    attempts = Attempts()
    attempts.begun(2)
    waiting = [attempts.enter() for _ in range(51)]
    assert waiting == [[]] * 50 + [[2.0]]


def test_who_gives_up_waiting_takes_no_place() -> None:
    attempts = Attempts()
    attempts.begun(2)
    results: list[Any] = []
    waiting = attempts.destination.enter().addBoth(results.append)
    waiting.cancel()
    assert results[0].check(CancelledError)
    attempts.destination.leave()
    assert attempts.begun(1) == 1


def test_a_failure_holds_for_a_minute_then_twice_as_long_up_to_an_hour() -> None:
    attempts = Attempts()
    holds = []
    for _ in range(8):
        holds.append(attempts.destination.failed())
        assert attempts.enter() == [holds[-1]]
        attempts.clock.advance(holds[-1])
    assert holds == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert attempts.begun(1) == 1


def test_failures_together_count_once() -> None:
    attempts = Attempts()
    attempts.destination.failed()
    attempts.clock.advance(10)
    assert attempts.destination.failed() == 50


def test_one_that_does_well_ends_the_growth_of_holds() -> None:
    attempts = Attempts()
    attempts.clock.advance(attempts.destination.failed())
    attempts.destination.did_well()
    assert attempts.destination.failed() == 60


def test_who_waits_while_it_fails_is_sent_away() -> None:
    attempts = Attempts()
    attempts.begun(2)
    third = attempts.enter()
    attempts.destination.failed()
    attempts.destination.leave()
    assert third == [60.0]


def test_no_more_go_in_any_minute_than_may() -> None:
    attempts = Attempts(messages_per_minute=Count(3))
    begun = []
    for second in range(300):
        if attempts.enter() == [None]:
            begun.append(second)
            attempts.destination.leave()
        attempts.clock.advance(1)
    assert len(begun) == 15
    assert all(later - earlier >= 60 for earlier, later in zip(begun, begun[3:], strict=False))


def test_it_tells_when_there_will_be_room_in_the_minute() -> None:
    attempts = Attempts(messages_per_minute=Count(1))
    attempts.enter()
    attempts.clock.advance(20)
    assert attempts.enter() == [40.0]


def test_without_a_limit_nothing_is_counted() -> None:
    attempts = Attempts()
    for _ in range(100):
        attempts.enter()
        attempts.destination.leave()
    assert attempts.enter() == [None]


def test_a_destination_is_known_again_until_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    destinations = Destinations(Clock(), RelaySettings)
    first, second = destinations.at("a"), destinations.at("b")
    second.enter()
    assert destinations.at("a") is first
    destinations.at("c")  # b would have to go, but is in use
    assert destinations.at("b") is second
    destinations.at("d")
    assert len(destinations) == 2


def test_what_the_operator_wants_tried_may_go_where_the_destination_is_held() -> None:
    attempts = Attempts()
    held = attempts.destination.failed()
    assert attempts.enter() == [held]
    assert attempts.enter(urgent=True) == [None]
    attempts.destination.failed()
    assert attempts.enter() == [held]
