"""Noticing that a server keeps a person waiting, and what for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

#: Seconds until a wait is worth a word: as long as the farewell is waited for, so that that never is.
PATIENCE = 5.0
_Result = TypeVar("_Result")


@attrs.frozen
class SlowServer:
    """Tells, once a wait for the server called C{name} has taken L{PATIENCE} seconds; each once."""

    _name: str
    _clock: IReactorTime
    _tell: Callable[[str], None]

    def watch(self, what: str, waiting: Deferred[_Result]) -> None:
        """See L{mailagent.smtp.client_channel.Watch}."""
        notice = self._clock.callLater(PATIENCE, self._tell, f"Waiting for {self._name} ({what.strip('()')}) …")

        def over(result: _Result) -> _Result:
            if notice.active():
                notice.cancel()
            return result

        waiting.addBoth(over)
