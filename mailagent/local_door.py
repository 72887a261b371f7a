"""The ways in for users of this machine: a socket, and the drop where a message waits while nobody listens there.

Both are in the state directory, and belong to the one server that runs with it. Without the socket the drop will do;
without the drop, the socket: what cannot be had is logged, and ends nothing.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailagent import log as events
from mailagent.state import SUBMIT_SOCKET, make_drop

#: Seconds between two looks into the drop.
INTERVAL = 5.0


def user_name(number: int) -> str:
    """A user's name, or the number where there is none. Blocks: names may come from another machine."""
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OSError):
        return str(number)


class LocalDoor:
    """See the module.

    @param state: the state directory.
    @param factory: makes the sessions of the socket.
    @param look: looks into the drop once, in a thread; fires when done. Without it there is no drop.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        state: str,
        factory: IProtocolFactory,
        look: Callable[[], Deferred[None]] | None = None,
    ) -> None:
        self._reactor = reactor
        self._state = state
        self._socket = os.path.join(state, SUBMIT_SOCKET)
        self._factory = factory
        self._port: IListeningPort | None = None
        self._look = look
        self._looking = LoopingCall(self._look_once)
        self._looking.clock = reactor

    def open(self) -> None:
        """Listen, and look. Only for the server that holds the state directory: a socket that is there is replaced."""
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._socket)
            self._port = self._reactor.listenUNIX(self._socket, self._factory, mode=0o666)
        except Exception as error:
            reason = getattr(error, "socketError", error)
            events.ERROR(self._log, what=f"listening on {self._socket}", reason=str(reason))
        if self._look is not None:
            try:
                make_drop(self._state)
            except OSError as error:
                events.ERROR(self._log, what=f"{error.filename or self._state}, the drop", reason=error.strerror)
            else:
                self._looking.start(INTERVAL)

    def close(self) -> None:
        """Listen and look no more."""
        if self._port is not None:
            self._port.stopListening()
            self._port = None
        if self._looking.running:
            self._looking.stop()

    def _look_once(self) -> Deferred[None]:
        assert self._look is not None
        return self._look().addErrback(
            lambda failure: events.ERROR(self._log, what="looking into the drop", reason=repr(failure.value))
        )
