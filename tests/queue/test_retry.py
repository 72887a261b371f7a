"""Retry times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.queue.retry import JITTER, expired, wait

FIRST, MOST = 300.0, 14400.0


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 300), (1, 600), (2, 1200), (5, 9600), (6, 14400), (7, 14400), (10**9, 14400)]
)
def test_each_wait_is_twice_as_long_up_to_the_longest(attempts: int, seconds: float) -> None:
    assert wait(attempts, FIRST, MOST, 0.5) == pytest.approx(seconds)


@given(attempts=st.integers(0, 10**6), chance=st.floats(0, 1))
def test_jitter_is_a_tenth_either_way(attempts: int, chance: float) -> None:
    middle = wait(attempts, FIRST, MOST, 0.5)
    assert middle * (1 - JITTER) * 0.999999 <= wait(attempts, FIRST, MOST, chance) <= middle * (1 + JITTER) * 1.000001


def test_chance_makes_a_wait_longer() -> None:
    assert wait(0, FIRST, MOST, 0) == pytest.approx(270)
    assert wait(0, FIRST, MOST, 1) == pytest.approx(330)


@given(first=st.floats(0, 1e6), most=st.floats(0, 1e6), attempts=st.integers(0, 100))
def test_there_is_always_a_wait(first: float, most: float, attempts: int) -> None:
    assert wait(attempts, first, most, 0) >= 0.9


def test_a_message_expires_at_its_age() -> None:
    assert not expired(1000.0, 1099.9, 100.0)
    assert expired(1000.0, 1100.0, 100.0)
