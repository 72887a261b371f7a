"""What measurements come to: medians, quantiles, aims met or missed. Pure; nothing here measures or prints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import attrs

#: One line of a table: from the column's name, with its unit, to what stands there. C{None} was not measured.
Row = Mapping[str, float | str | None]


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least C{share} of all do not exceed (nearest rank).

    @param share: from 0 to 1.
    @raise ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]


def middle(samples: Sequence[float]) -> float | None:
    """The median, or C{None} where nothing was measured."""
    return median(samples) if samples else None


@attrs.frozen
class Aim:
    """What a figure should be, and is.

    @ivar what: the figure's name.
    @ivar at_least: whether more is better.
    """

    what: str
    wanted: float
    got: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.got >= self.wanted if self.at_least else self.got <= self.wanted

    @property
    def verdict(self) -> str:
        """In words, with how much is lacking."""
        sign = "≥" if self.at_least else "≤"
        aim = f"{number(self.got)} (aim: {sign} {number(self.wanted)})"
        if self.met:
            return f"{self.what}: {aim}: met"
        lacking = abs(self.got - self.wanted) / self.wanted
        return f"{self.what}: {aim}: missed by {number(100 * lacking)} %"


@attrs.frozen
class Result:
    """What one work came to.

    @ivar work: its name on the command line.
    @ivar title: what it is, for a heading.
    @ivar note: how it was measured, where that is not in the title.
    """

    work: str
    title: str
    rows: Sequence[Row]
    aims: Sequence[Aim] = attrs.field(factory=list)
    note: str = ""

    def to_json(self, circumstances: Mapping[str, Any]) -> str:
        """One line of the history.

        @param circumstances: when and where it was measured, with which versions.
        """
        return json.dumps({**circumstances, **attrs.asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> tuple[Result, dict[str, Any]]:
        """What L{to_json} has written: the result and its circumstances."""
        fields = json.loads(line)
        aims = [Aim(**aim) for aim in fields.pop("aims")]
        own = {name: fields.pop(name) for name in ("work", "title", "rows", "note")}
        return cls(aims=aims, **own), fields


def number(value: float | str | None) -> str:
    """For people: three digits that count, thousands set apart; words as they are; a dash for what is not there."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(decimals, 4)}f}"


def ratio(ours: float | str | None, theirs: float | str | None) -> float | None:
    """How many times C{theirs} ours is; C{None} where one of them is not known."""
    if isinstance(ours, str) or isinstance(theirs, str) or ours is None or not theirs:
        return None
    return ours / theirs
