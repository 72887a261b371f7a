"""Sizes and durations as people write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.units import SLOWEST, duration, duration_text, rate, rate_text, size, size_text


@pytest.mark.parametrize(
    ("written", "octets"),
    [
        ("25 MiB", 25 * 1024 * 1024),
        ("10 MB", 10_000_000),
        ("10MB", 10_000_000),
        ("1.5 kib", 1536),
        ("7 B", 7),
        (26214400, 26214400),
    ],
)
def test_a_size_is_octets_binary_or_decimal_by_its_unit(written: object, octets: int) -> None:
    assert size(written) == octets


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("5 min", 300.0), ("30 s", 30.0), ("1 h", 3600.0), ("500 ms", 0.5), ("2 d", 172800.0), ("0.1 s", 0.1)],
)
def test_a_duration_is_seconds_by_its_unit(written: object, seconds: float) -> None:
    assert duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["25", "MiB", "25 potatoes", "-1 MB", "1e3 MB", "٣ MB", "0 MB", "0.1 B", "", " 1 MB", 0, -1, True, 1.5, None],
)
def test_what_is_no_positive_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        size(written)


@pytest.mark.parametrize("written", ["300", 300, 300.0, True, "5 minutes", "-5 min", "0 s", "inf s", [], "5\nmin"])
def test_what_is_no_positive_duration_with_a_unit_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        duration(written)


@given(st.integers(1, 10**12))
def test_a_size_survives_being_written_and_read(octets: int) -> None:
    assert size(size_text(octets)) == octets


@given(st.integers(1, 10**12))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    assert duration(duration_text(milliseconds / 1000)) == milliseconds / 1000


@given(st.text() | st.integers() | st.floats() | st.none())
def test_reading_amounts_raises_nothing_but_value_error(written: object) -> None:
    for read in (size, duration):
        with suppress(ValueError):
            assert read(written) > 0


def test_amounts_are_written_in_the_largest_unit_without_a_fraction() -> None:
    assert [size_text(octets) for octets in (1, 1000, 1024, 25 * 1024**2)] == ["1 B", "1 KB", "1 KiB", "25 MiB"]
    assert [duration_text(seconds) for seconds in (0.5, 30.0, 90.0, 300.0, 7200.0)] == [
        "500 ms",
        "30 s",
        "90 s",
        "5 min",
        "2 h",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("100 / min", (100, 60.0)), ("5/s", (5, 1.0)), ("20 / 10 min", (20, 600.0)), ("1 / h", (1, 3600.0))],
)
def test_a_rate_is_so_many_in_so_many_seconds(written: str, meant: tuple[int, float]) -> None:
    assert rate(written) == meant


@pytest.mark.parametrize(
    "written",
    ["100", "100 / ", "0 / s", "/ min", "1 / 2 h", "23 / d", "5 / 0 s", "-1 / s", "1.5 / s", "5 per s", 5, None],
)
def test_what_is_no_rate_or_less_than_one_an_hour_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        rate(written)


@given(st.integers(1, 10**9 - 1), st.integers(1, 10**9).map(lambda thousandths: thousandths / 1000))
def test_a_rate_reads_as_it_is_written(many: int, seconds: float) -> None:
    if seconds / many <= SLOWEST:
        assert rate(rate_text((many, seconds))) == (many, seconds)


@given(st.text() | st.text("0123456789 /.smhind", max_size=12))
def test_any_text_is_a_rate_or_is_refused(text: str) -> None:
    with suppress(ValueError):
        many, seconds = rate(text)
        assert 0 < seconds / many <= SLOWEST
