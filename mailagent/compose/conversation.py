"""A service that does one thing in the foreground and then ends the process with an exit status."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.application.service import IServiceCollection, Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

#: What a shell reports of a process that died of SIGHUP.
_HUNG_UP = 128 + signal.SIGHUP


class Conversation(Service):
    """Runs C{converse} once the reactor runs; what it returns becomes the exit status.

    twistd has no notion of an exit status, so the process leaves from the very last shutdown trigger. A signal
    that stops the reactor first cancels C{converse}, and the status is then the signal's: twistd sees to that.

    @param converse: the thing to do.
    @param leave: ends the process with a status.
    @param failed: the status if C{converse} fails, which it should not.
    @param observer: takes the log.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        converse: Callable[[], Coroutine[Deferred[Any], Any, int]],
        leave: Callable[[int], None],
        failed: int,
        observer: ILogObserver,
    ) -> None:
        self._reactor = reactor
        self._converse = converse
        self._leave = leave
        self._failed = failed
        self._observer = observer
        self._under_way: Deferred[None] | None = None

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join the application, which asks its components for an observer before it begins to log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """See C{IService}."""
        super().startService()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._hung_up))
        self._reactor.callWhenRunning(self._begin)

    def _hung_up(self) -> None:
        """The terminal was closed: end as with the other signals, for which twistd has handlers."""
        if self.running:
            self._reactor.addSystemEventTrigger("after", "shutdown", self._leave, _HUNG_UP)
            self._reactor.stop()

    def stopService(self) -> None:
        """See C{IService}."""
        super().stopService()
        if self._under_way is not None:
            self._under_way.cancel()

    def _begin(self) -> None:
        self._under_way = Deferred.fromCoroutine(self._converse()).addErrback(self._broke).addCallback(self._end)

    def _broke(self, failure: Failure) -> int:
        self._log.failure("the conversation broke", failure)
        return self._failed

    def _end(self, status: int) -> None:
        if self.running:  # else a signal was faster
            self._reactor.addSystemEventTrigger("after", "shutdown", self._leave, status)
            self._reactor.stop()
