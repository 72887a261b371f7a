"""A scheduler on a real database, with a clock of its own and a courier that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from mailagent.config.outbound import QueueSettings
from mailagent.database.reader import Reader
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.interfaces import Attempt, Attempted, ICourier, StorageFailed
from mailagent.queue.lanes import Allowance
from mailagent.queue.queue import reading
from mailagent.queue.scheduler import Scheduler
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import HOP, NOW, STORED

_T = TypeVar("_T")
Answer = Callable[[Attempt], Attempted | Deferred[Attempted]]


def all_told(reply: Reply, hold: float = 0.0, notice: str = "") -> Answer:
    """The same reply for every recipient."""
    return lambda attempt: Attempted(
        tuple(Outcome(each, reply, HOP, notice) for each in attempt.envelope.recipients), hold
    )


def raising(error: BaseException) -> Answer:
    def answer(attempt: Attempt) -> Attempted:
        raise error

    return answer


@implementer(ICourier)
class ScriptedCourier:
    """Answers as the script says for the destination, and remembers what it was given."""

    def __init__(self) -> None:
        self.script: dict[str, Answer] = {}
        self.otherwise = all_told(STORED)
        self.attempts: list[Attempt] = []

    def deliver(self, attempt: Attempt) -> Deferred[Attempted]:
        self.attempts.append(attempt)
        answer = self.script.get(attempt.destination, self.otherwise)(attempt)
        if isinstance(answer, Deferred):
            return answer
        done: Deferred[Attempted] = Deferred()
        done.callback(answer)
        return done

    def at(self, destination: str) -> int:
        """How often something was tried there."""
        return sum(attempt.destination == destination for attempt in self.attempts)


class Site:
    """See the module.

    @ivar away: the database cannot be reached.
    @ivar unanswered: it does what it is told, and its answers are lost.
    @ivar late: where a list, it does what it is told, and each answer comes when its Deferred there is fired.
    @ivar wrong: by how many seconds somebody has set the clock forward.
    @ivar open: attempts that were left open by L{left_open}, each with what ends it.
    """

    def __init__(self, database: Database, **settings: Any) -> None:
        self.database = database
        self.settings = QueueSettings(**settings)
        self.clock = Clock()
        self.clock.advance(NOW)
        self.courier = ScriptedCourier()
        self.store = Store("here", "mx.example.org")
        self.allowance = Allowance()
        self.away = False
        self.unanswered = False
        self.late: list[Deferred[None]] | None = None
        self.wrong = 0.0
        self.events: list[LogEvent] = []
        self.open: list[tuple[Attempt, Deferred[Attempted]]] = []
        reader = Reader(database.reading, self._in_thread)
        self.scheduler = Scheduler(
            run=self._run,
            read=reader.run,
            store=self.store,
            courier=self.courier,
            content=partial(reading, reader, self.store),
            clock=self.clock,
            seconds=lambda: self.clock.seconds() + self.wrong,
            settings=lambda: self.settings,
            hostname="mx.example.org",
            random=Random(1),
            log=Logger("test", observer=cast(ILogObserver, self.events.append)),
            allowed=lambda destination: self.allowance,
            beat=self._run if database.engine.dialect.name == "postgresql" else None,
        )

    def _run(self, job: Callable[[sa.Connection], _T]) -> Deferred[_T]:
        done = self._in_thread(self.database.writer.call, job)
        if self.late is None:
            return done
        answer: Deferred[None] = Deferred()
        self.late.append(answer)
        return answer.addCallback(lambda _: done)

    def _in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if self.away:
            return fail(StorageFailed("away"))
        done = execute(function, *args)
        return done.addCallback(lambda _: fail(StorageFailed("lost"))) if self.unanswered else done

    def enqueue(self, *messages: QueuedMessage, body: bytes = b"Subject: hello\n\nbody\n") -> None:
        """As another process does it: nobody wakes the scheduler."""
        self.database.write(self.store.insert, messages, body, self.clock.seconds() + self.wrong)

    def start(self) -> None:
        self.scheduler.start()

    def after(self, seconds: float, step: float = 60.0) -> None:
        """Let time pass, all that is due in it done in steps; shorter than the step, in one."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step

    def left_open(self, attempt: Attempt) -> Deferred[Attempted]:
        """An answer that does not come until the test gives it."""
        done: Deferred[Attempted] = Deferred()
        self.open.append((attempt, done))
        return done

    def close(self, reply: Reply = STORED) -> None:
        """Answer the oldest open attempt."""
        attempt, done = self.open.pop(0)
        answer = all_told(reply)(attempt)
        assert isinstance(answer, Attempted)
        done.callback(answer)
        self.clock.advance(0)

    def states(self) -> list[str]:
        return self.database.rows("SELECT state FROM recipients ORDER BY id")

    def due(self) -> list[float]:
        """Seconds until each recipient's next attempt."""
        return [due - self.clock.seconds() for due in self.database.rows("SELECT due FROM recipients ORDER BY id")]

    def leased(self) -> int:
        return len(self.database.rows("SELECT id FROM recipients WHERE lease_token IS NOT NULL"))

    def reports(self) -> list[tuple[str, str]]:
        """Id and recipient of each report that was queued, in their order."""
        return self.database.rows(
            "SELECT m.id, r.address FROM messages m JOIN recipients r ON r.message_id = m.id "
            "WHERE m.reverse_path = '' AND length(m.header) = 0 ORDER BY r.id"
        )

    def logged(self, name: str) -> list[LogEvent]:
        return [event for event in self.events if event.get("event") == name]


@contextmanager
def running(database: Database, **settings: Any) -> Iterator[Site]:
    """A site whose scheduler has begun. Nothing is left waiting at its end."""
    site = Site(database, **settings)
    site.start()
    yield site
    site.away = False
    stopped = site.scheduler.stop(0.0)
    site.clock.advance(120)
    assert stopped.called
    assert not site.clock.getDelayedCalls()
