"""A bounded memory of answers, each for its own time. The one not asked for longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """At most C{limit} values, by key.

    @param seconds: the time now, in seconds.
    """

    def __init__(self, seconds: Callable[[], float], limit: int) -> None:
        self._seconds = seconds
        self._limit = limit
        self._values: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """What is known; C{None} where nothing is, or not any more."""
        found = self._values.get(key)
        if found is None:
            return None
        expires, value = found
        if expires <= self._seconds():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value, seconds: float) -> None:
        """Keep C{value} for so many C{seconds}."""
        self._values[key] = self._seconds() + seconds, value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)
