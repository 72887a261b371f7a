"""How many messages may be on their way to one destination at the same time.

It begins with few, grows as they arrive, and falls to one where a destination would not have them: so that one that is
dead, or slow, cannot take up all the room there is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping

import attrs

FIRST = 2
MOST = 20
#: Destinations without anything on its way whose window is remembered.
_REMEMBERED = 1000


@attrs.frozen
class Allowance:
    """How much goes to one destination, from all nodes together.

    @ivar most: messages that may be on their way there at the same time.
    @ivar pace: seconds from one message to the next; 0 where there is no rate.
    """

    most: int = MOST
    pace: float = 0.0

    @property
    def at_once(self) -> int:
        """Messages that may be taken together, for which the next then wait: those of a second, at least one."""
        return max(1, int(1 / self.pace)) if self.pace else self.most


class Lanes:
    """Destinations, what is on its way to each, and its window."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._windows: OrderedDict[str, int] = OrderedDict()

    def enter(self, destination: str) -> None:
        """A message is on its way there."""
        self._taken[destination] += 1

    def leave(self, destination: str) -> None:
        """It is no more."""
        self._taken[destination] -= 1
        if not self._taken[destination]:
            del self._taken[destination]
        while len(self._windows) > _REMEMBERED + len(self._taken):
            self._windows.popitem(last=False)

    def grow(self, destination: str) -> None:
        """One has arrived: twice as many may follow."""
        self._set(destination, min(2 * self._window(destination), MOST))

    def shrink(self, destination: str) -> None:
        """The destination is held, or busy: one at a time."""
        self._set(destination, 1)

    def _set(self, destination: str, window: int) -> None:
        self._windows[destination] = window
        self._windows.move_to_end(destination)

    def _window(self, destination: str) -> int:
        return self._windows.get(destination, FIRST)

    def full(self) -> Collection[str]:
        """Destinations that take no more now."""
        return [name for name, taken in self._taken.items() if taken >= self._window(name)]

    def windows(self) -> Mapping[str, int]:
        """How many more each destination takes now, at least one; L{FIRST} where it is not named."""
        room = {name: window - self._taken[name] for name, window in self._windows.items()}
        room |= {name: FIRST - taken for name, taken in self._taken.items() if name not in room}
        return {name: more for name, more in room.items() if more > 0}
