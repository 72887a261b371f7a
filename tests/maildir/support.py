"""What the tests of this room share: threads that run when told, and Maildirs in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.maildir import layout
from mailagent.maildir.files import FileLayer
from mailagent.maildir.memory import MemoryFiles

ANN = Mailbox(Address("ann", "example.org"), "/mail/ann")
BOB = Mailbox(Address("bob", "example.org"), "/mail/bob")
CAT = Mailbox(Address("cat", "example.org"), "/mail/cat")


def run_now(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """A thread pool without threads: the job is done when this returns."""
    return execute(function, *args)


class Threads:
    """A thread pool whose jobs start, and end, when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, lambda: function(*args)))
        return done

    def finish(self) -> None:
        """Run the oldest job and report it."""
        done, job = self.jobs.pop(0)
        try:
            result = job()
        except Exception:
            done.errback(Failure())
        else:
            done.callback(result)

    def finish_all(self) -> None:
        while self.jobs:
            self.finish()


@implementer(ILogObserver)
class Events(list[LogEvent]):
    """A log that remembers what was recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Logger("test", observer=self)

    def __call__(self, event: LogEvent) -> None:
        self.append(event)

    @property
    def named(self) -> list[str]:
        return [event["event"] for event in self]


@contextmanager
def logged() -> Iterator[Events]:
    """What anybody logs in the block."""
    events = Events()
    globalLogPublisher.addObserver(events)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(events)


def memory_maildirs(*mailboxes: Mailbox, seconds: Callable[[], float] = lambda: 0.0) -> MemoryFiles:
    """A file layer that holds these Maildirs, all durable."""
    files = MemoryFiles(seconds)
    prepare(files, *mailboxes)
    return files


def prepare(files: FileLayer, *mailboxes: Mailbox, now: float = 0.0) -> Events:
    """Make these mailboxes ready, and tell what was logged."""
    events = Events()
    layout.prepare(files, mailboxes, now, events.log)
    return events
