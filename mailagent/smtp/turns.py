"""Turns for sessions that have sent very many commands: one of them at a time, and a rest after each.

A session that never runs out of commands (100,000 RSETs, NOOPs whose replies nobody reads) would take as much of the
processor as all honest ones together, and more, the more of its kind there are. Here all of its kind get one part in
L{REST} + 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

#: How many times as long as a turn the rest after it is.
REST = 3


@attrs.define(eq=False)
class Turns:
    """See the module.

    @ivar clock: its C{seconds()} do not go back.
    """

    _clock: IReactorTime
    _waiting: deque[Callable[[], None]] = attrs.field(factory=deque, init=False)

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have C{go_on} called when its turn has come, which is over when that returns."""
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            self._clock.callLater(0, self._take)

    def _take(self) -> None:
        began = self._clock.seconds()
        try:
            self._waiting[0]()
        finally:
            self._waiting.popleft()
            if self._waiting:
                self._clock.callLater(REST * (self._clock.seconds() - began), self._take)
