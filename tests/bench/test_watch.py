"""What is said of quantities that were looked at for a long time."""

from __future__ import annotations

import os

import pytest

from bench.watch import ALLOWED, Line, Watch, held, names

TIMES = [float(10 * n) for n in range(9)]


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        ([10, 10, 10, 10, 10, 10, 10, 10, 10], False),
        ([1, 2, 3, 10, 10, 10, 10, 10, 10], False),  # it was warming up
        ([10, 10, 10, 10, 11, 10, 10, 99, 10], False),  # and went back
        ([10, 10, 10, 11, 12, 13, 14, 15, 16], False),  # by less than it may
        ([10, 10, 10, 20, 22, 24, 26, 28, 30], True),
    ],
)
def test_growth_is_what_the_last_third_has_beyond_the_middle_one(values: list[float], grows: bool) -> None:
    assert Line.of("owner", "descriptors", TIMES, values).grows is grows


def test_memory_may_grow_by_a_share_and_a_mebibyte() -> None:
    assert ALLOWED["PSS, KiB"] == (0.03, 1024.0)
    for last, grows in ((61_024.0, False), (61_025.0 + 1800, True)):
        assert Line.of("owner", "PSS, KiB", TIMES, [60_000.0] * 6 + [last] * 3).grows is grows


def test_a_line_has_medians_and_the_gain_in_an_hour_after_the_first_third() -> None:
    line = Line.of("owner", "threads", TIMES, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert (line.first, line.middle, line.last, round(line.per_hour)) == (0, 2, 5, 360)
    assert "GROWS" in str(line)


def test_a_process_holds_something_and_has_a_name() -> None:
    assert min(held(os.getpid()).values()) >= 1
    assert names(os.getpid())[os.getpid()] == "owner"


def test_too_few_looks_tell_nothing() -> None:
    watch = Watch(os.getpid())
    watch.look()
    with pytest.raises(SystemExit, match="too few"):
        watch.lines()
