"""Sizes and durations as people write them: C{"25 MiB"} is octets, C{"5 min"} is seconds, C{"100 / min"} is a rate.

Pure functions both ways. What is not a positive amount with a known unit raises C{ValueError}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

SIZE_UNITS: Mapping[str, int] = {
    "B": 1,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
    "TB": 1000**4,
    "TiB": 1024**4,
}
DURATION_UNITS: Mapping[str, Decimal] = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
#: Seconds from one to the next, at the lowest rate.
SLOWEST = 3600.0
_RATE = re.compile(r"(\d{1,9}) */ *(?:(\d{1,12}(?:\.\d{1,6})?) *)?([A-Za-z]+)", re.ASCII)
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) *([A-Za-z]+)", re.ASCII)


def size(value: object) -> int:
    """Octets, from text such as C{"25 MiB"} (binary) or C{"10 MB"} (decimal), or from octets as an integer."""
    bare = isinstance(value, int) and not isinstance(value, bool)
    octets = value if bare else int(_amount(value, SIZE_UNITS))
    assert isinstance(octets, int)
    if octets < 1:
        raise ValueError("a size is at least one octet")
    return octets


def duration(value: object) -> float:
    """Seconds, from text such as C{"5 min"}. The unit must be there: a bare number says too little."""
    seconds = _amount(value, DURATION_UNITS)
    if seconds <= 0:
        raise ValueError("a duration is longer than nothing")
    return float(seconds)


def rate(value: object) -> tuple[int, float]:
    """So many in so many seconds, from text such as C{"100 / min"} or C{"5 / 10 s"}."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not a rate")
    many, seconds = int(found[1]), duration(f"{found[2] or 1} {found[3]}")
    if not many or seconds / many > SLOWEST:
        raise ValueError("none at all, or too slow")
    return many, seconds


def size_text(octets: int) -> str:
    """A size as L{size} reads it, in the largest unit that takes no fraction."""
    unit = max((unit for unit in SIZE_UNITS if octets % SIZE_UNITS[unit] == 0), key=SIZE_UNITS.__getitem__)
    return f"{octets // SIZE_UNITS[unit]} {unit}"


def duration_text(seconds: float) -> str:
    """A duration as L{duration} reads it, in the largest unit that takes no fraction (to the microsecond)."""
    exact = round(Decimal(seconds), 6)
    whole = [unit for unit in DURATION_UNITS if exact % DURATION_UNITS[unit] == 0] or ["ms"]
    unit = max(whole, key=DURATION_UNITS.__getitem__)
    return f"{(exact / DURATION_UNITS[unit]).normalize():f} {unit}"


def rate_text(value: tuple[int, float]) -> str:
    """A rate as L{rate} reads it."""
    many, seconds = value
    return f"{many} / {duration_text(seconds).removeprefix('1 ')}"


def _amount(value: object, units: Mapping[str, int] | Mapping[str, Decimal]) -> Decimal:
    found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    factors = {unit.lower(): Decimal(factor) for unit, factor in units.items()}
    if found is None or found[2].lower() not in factors:
        raise ValueError("not an amount with a unit")
    return Decimal(found[1]) * factors[found[2].lower()]
