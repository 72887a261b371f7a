"""Windows of destinations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.queue.lanes import FIRST, MOST, Allowance, Lanes


def test_a_destination_nobody_has_been_at_is_not_named() -> None:
    lanes = Lanes()
    assert (list(lanes.full()), dict(lanes.windows())) == ([], {})


def test_what_is_on_its_way_takes_room() -> None:
    lanes = Lanes()
    lanes.enter("a.example")
    assert lanes.windows() == {"a.example": FIRST - 1}
    lanes.enter("a.example")
    assert (list(lanes.full()), dict(lanes.windows())) == (["a.example"], {})
    lanes.leave("a.example")
    assert lanes.windows() == {"a.example": FIRST - 1}


def test_a_window_doubles_up_to_the_most() -> None:
    lanes = Lanes()
    seen = []
    for _ in range(5):
        lanes.grow("a.example")
        seen.append(lanes.windows()["a.example"])
    assert seen == [4, 8, 16, MOST, MOST]


def test_a_window_falls_to_one_and_begins_again() -> None:
    lanes = Lanes()
    lanes.grow("a.example")
    lanes.shrink("a.example")
    assert lanes.windows() == {"a.example": 1}
    lanes.grow("a.example")
    assert lanes.windows() == {"a.example": 2}


def test_a_window_that_shrank_below_what_is_on_its_way_is_full() -> None:
    lanes = Lanes()
    lanes.enter("a.example")
    lanes.enter("a.example")
    lanes.shrink("a.example")
    lanes.leave("a.example")
    assert (list(lanes.full()), dict(lanes.windows())) == (["a.example"], {})


def test_of_very_many_destinations_the_newest_are_remembered() -> None:
    lanes = Lanes()
    for number in range(3000):
        lanes.enter(f"d{number}.example")
        lanes.grow(f"d{number}.example")
        lanes.leave(f"d{number}.example")
    windows = lanes.windows()
    assert len(windows) <= 1001
    assert "d2999.example" in windows


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "leave", "grow", "shrink"]))))
def test_a_destination_is_full_or_has_room(steps: list[tuple[str, str]]) -> None:
    lanes = Lanes()
    taken: list[str] = []
    for name, step in steps:
        if step == "leave":
            if name not in taken:
                continue
            taken.remove(name)
        if step == "enter":
            taken.append(name)
        getattr(lanes, step)(name)
        assert not set(lanes.full()) & set(lanes.windows())
        assert all(1 <= room <= MOST for room in lanes.windows().values())
        assert set(taken) <= {*lanes.full(), *lanes.windows()}


@pytest.mark.parametrize(("pace", "messages"), [(0.0, 20), (60.0, 1), (1.0, 1), (0.6, 1), (0.5, 2), (0.01, 100)])
def test_at_once_go_the_messages_of_a_second(pace: float, messages: int) -> None:
    assert Allowance(20, pace).at_once == messages
