"""Turns for sessions that have sent very many commands."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from mailagent.smtp.turns import REST, Turns


class Site:
    """Sessions whose turns take a second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.taken: list[tuple[str, float]] = []

    def session(self, name: str, turns: int) -> Callable[[], None]:
        """One that needs so many turns."""
        left = turns

        def go_on() -> None:
            nonlocal left
            self.taken.append((name, self.clock.seconds()))
            self.clock.rightNow += 1.0
            left -= 1
            if left:
                self.turns.wait(go_on)

        return go_on

    def run(self) -> None:
        while calls := self.clock.getDelayedCalls():
            self.clock.advance(max(0.0, min(call.getTime() for call in calls) - self.clock.seconds()))


@pytest.fixture
def site() -> Site:
    return Site()


def test_one_that_waits_alone_has_its_turn_at_once_and_then_rests(site: Site) -> None:
    site.turns.wait(site.session("ann", 3))
    assert site.taken == []
    site.run()
    assert site.taken == [("ann", 0.0), ("ann", 1.0 + REST), ("ann", 2 * (1.0 + REST))]


def test_many_have_no_more_time_than_one(site: Site) -> None:
    for name in ("ann", "bob", "eve"):
        site.turns.wait(site.session(name, 2))
    site.run()
    assert [name for name, _ in site.taken] == ["ann", "bob", "eve"] * 2
    assert [at for _, at in site.taken] == [number * (1.0 + REST) for number in range(6)]


def test_after_all_have_ended_the_next_has_its_turn_at_once(site: Site) -> None:
    site.turns.wait(site.session("ann", 1))
    site.run()
    site.turns.wait(site.session("bob", 1))
    site.run()
    assert site.taken == [("ann", 0.0), ("bob", 1.0)]


def test_one_that_fails_does_not_keep_the_others(site: Site) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    site.turns.wait(fails)
    site.turns.wait(site.session("ann", 1))
    with pytest.raises(ZeroDivisionError):
        site.run()
    site.run()
    assert site.taken == [("ann", 0.0)]
