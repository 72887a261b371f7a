"""What measurements come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Aim, Result, middle, number, quantile, ratio

_SAMPLES = st.lists(st.floats(0, 1e6), min_size=1)


def test_a_quantile_is_the_nearest_rank() -> None:
    samples = [float(each) for each in range(100, 0, -1)]
    assert (quantile(samples, 0.5), quantile(samples, 0.99), quantile(samples, 1)) == (50, 99, 100)


@given(_SAMPLES, st.floats(0, 1))
def test_a_quantile_is_a_sample_that_enough_others_do_not_exceed(samples: list[float], share: float) -> None:
    found = quantile(samples, share)
    assert found in samples
    assert sum(each <= found for each in samples) >= share * len(samples) - 1e-9


def test_there_is_no_quantile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


def test_the_middle_is_the_median_where_there_is_one() -> None:
    assert middle([3, 1, 100]) == 3
    assert middle([]) is None


@pytest.mark.parametrize(
    ("aim", "verdict"),
    [
        (Aim("rate", 3, 3.5), "rate: 3.50 (aim: ≥ 3): met"),
        (Aim("rate", 3, 1.5), "rate: 1.50 (aim: ≥ 3): missed by 50 %"),
        (Aim("time", 2, 2, at_least=False), "time: 2 (aim: ≤ 2): met"),
        (Aim("time", 2, 5, at_least=False), "time: 5 (aim: ≤ 2): missed by 150 %"),
    ],
)
def test_an_aim_is_met_or_missed_by_so_much(aim: Aim, verdict: str) -> None:
    assert aim.verdict == verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("x", "x"),
        (0, "0"),
        (1234567, "1,234,567"),
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (0.01234, "0.0123"),
    ],
)
def test_a_number_has_three_digits_that_count(value: float | str | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_can_be_shown(value: float) -> None:
    assert number(value)


def test_a_ratio_needs_both_figures() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert [ratio(None, 2.0), ratio(3.0, None), ratio(3.0, 0), ratio("x", 2.0)] == [None] * 4


def test_a_result_is_the_same_after_the_history() -> None:
    result = Result("idle", "Idle connections", [{"connections": 10, "octets": None}], [Aim("octets", 8, 9.5)], "noted")
    assert Result.from_json(result.to_json({"date": "2026-11-23"})) == (result, {"date": "2026-11-23"})
