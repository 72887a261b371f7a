"""The service that ends the process with a status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Application, IServiceCollection
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogPublisher
from twisted.python.failure import Failure

from mailagent.compose.conversation import Conversation


class Reactor:
    """As much of one as the service uses; C{run} and C{shut_down} are the test's."""

    def __init__(self) -> None:
        self.starting: list[Callable[[], None]] = []
        self.leaving: list[Callable[[], None]] = []
        self.stopped = 0

    def callWhenRunning(self, call: Callable[[], None]) -> None:
        self.starting.append(call)

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[..., None], *args: Any) -> None:
        assert (phase, event) == ("after", "shutdown")
        self.leaving.append(lambda: call(*args))

    def stop(self) -> None:
        self.stopped += 1


class Stage:
    """A service with what surrounds it."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.statuses: list[int] = []
        self.waits: Deferred[int] = Deferred()
        self.observer = LogPublisher()
        self.service = Conversation(self.reactor, self.converse, self.statuses.append, 70, self.observer)  # type: ignore[arg-type]
        self.service.startService()

    async def converse(self) -> int:
        return await self.waits

    def run(self) -> None:
        for call in self.reactor.starting:
            call()

    def shut_down(self) -> None:
        self.service.stopService()
        for call in self.reactor.leaving:
            call()


def test_the_result_becomes_the_status_once_all_is_shut_down() -> None:
    stage = Stage()
    stage.run()
    stage.waits.callback(3)
    assert (stage.reactor.stopped, stage.statuses) == (1, [])
    stage.shut_down()
    assert stage.statuses == [3]


def test_a_failure_has_a_status_of_its_own_and_is_logged() -> None:
    stage = Stage()
    stage.run()
    stage.waits.errback(ZeroDivisionError())
    stage.shut_down()
    assert stage.statuses == [70]


def test_a_signal_cancels_the_conversation_and_leaves_the_status_to_twistd() -> None:
    stage = Stage()
    cancelled: list[object] = []

    def interrupted(failure: Failure) -> int:
        cancelled.append(failure.check(CancelledError))
        return 130

    stage.waits.addErrback(interrupted)
    stage.run()
    stage.shut_down()
    assert cancelled == [CancelledError]
    assert (stage.reactor.stopped, stage.statuses) == (0, [])


def test_a_signal_before_the_reactor_runs_is_no_trouble() -> None:
    stage = Stage()
    stage.shut_down()
    assert stage.statuses == []


def test_the_application_is_given_the_log_observer() -> None:
    application: Any = Application("test")
    stage = Stage()
    stage.service.setServiceParent(application)
    assert ILogObserver(application) is stage.observer
    assert stage.service in list(IServiceCollection(application))
