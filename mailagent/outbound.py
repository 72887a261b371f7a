"""The way out, as a running part of the server: the queue's database, its scheduler, and those who take mail away.

Nothing touches a file before L{Outbound.prepare}, and no thread runs before L{Outbound.start}: twistd has shed its
privileges by then, and forked. What the configuration says is asked at each attempt, so a reload only replaces
C{config}; the database alone stays what it was at the start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from random import SystemRandom
from threading import Thread
from typing import Any

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import implementer

from mailagent.config import Config
from mailagent.config.values import server_parts
from mailagent.database.bell import Bell
from mailagent.database.engine import database_url, for_reading, for_writing
from mailagent.database.migration import migrate
from mailagent.database.node import node_id
from mailagent.database.reader import Reader
from mailagent.database.trouble import trouble
from mailagent.database.writer import Writer
from mailagent.dns.resolver import THREADS, Resolver
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import Chunks, ICourier, IDirectory, IMailstore, IQueue, StorageFailed
from mailagent.queue.lanes import MOST, Allowance
from mailagent.queue.queue import Queue, reading
from mailagent.queue.scheduler import Scheduler
from mailagent.queue.shared_time import SharedTime
from mailagent.queue.store import Store
from mailagent.reception.local_courier import LocalCourier, LocalFirst
from mailagent.relay.courier import Courier
from mailagent.relay.ourselves import Ourselves
from mailagent.relay.routes import route_for
from mailagent.relay.sessions import Sessions, endpoint
from mailagent.threads import DaemonThreads

#: Threads that read the database, and small files.
_READERS = 4
#: Destinations whose route is remembered.
_ALLOWANCES = 10_000


def allowances(config: Config) -> Callable[[str], Allowance]:
    """What each destination gets, as the configuration has it."""

    @lru_cache(_ALLOWANCES)
    def allowance(destination: str) -> Allowance:
        rate = route_for(destination, config.routes, config.relay).rate
        return Allowance(min(MOST, config.relay.connections), rate[1] / rate[0] if rate else 0.0)

    return allowance


@attrs.frozen
class _Sharing:
    """What there is where other nodes may be.

    @ivar beats: writes the heartbeats.
    """

    beats: Writer
    time: SharedTime


@attrs.frozen
class _Running:
    """What there is once the database is open.

    @ivar writers: that of the queue; and that of the heartbeats, where other nodes may be.
    """

    queue: Queue
    writers: tuple[Writer, ...]
    scheduler: Scheduler
    readers: sa.Engine
    bell: Bell | None


@implementer(IQueue)
class Outbound:
    """See the module.

    @param listening: where we listen, now: IP addresses and ports.
    @param seconds: the time, in seconds since the epoch, which may be set; the reactor's only gives the pauses.
    @param new_message_id: gives an identifier that nothing else has.
    @param logged: whether the log gets every command to another server, and its reply.
    @ivar config: the configuration, now.
    """

    def __init__(
        self,
        config: Config,
        directory: IDirectory,
        mailstore: IMailstore,
        new_message_id: Callable[[], str],
        listening: Callable[[], Iterable[tuple[str, int]]],
        reactor: Any,
        seconds: Callable[[], float],
        log: Logger,
        logged: bool = False,
    ) -> None:
        self.config = config
        self._allowed = allowances(config)
        self._url, self._state = config.queue.url, config.state
        self._reactor = reactor
        self._seconds = seconds
        self._log = log
        sizes = {"dns": THREADS, "readers": _READERS}
        self._pools = {name: DaemonThreads(name, most, reactor) for name, most in sizes.items()}
        self._remote = self._courier(listening, logged)
        local = LocalCourier(directory, mailstore, self, new_message_id)
        self._delivery = LocalFirst(directory, local, self._remote)
        self._running: _Running | None = None

    def _courier(self, listening: Callable[[], Iterable[tuple[str, int]]], logged: bool) -> Courier:
        """What takes mail to other hosts."""
        clock = self._reactor

        def server() -> tuple[str, int] | None:
            given = self.config.relay.resolver
            return server_parts(given) if given is not None else None

        def config() -> Config:
            return self.config

        resolver = Resolver(self._in_pool("dns"), clock.seconds, server)
        sessions = Sessions(config, clock, partial(endpoint, clock), self._in_pool("readers"), logged)
        ourselves = Ourselves(self.config.hostname, listening)
        return Courier(config, clock, resolver, ourselves, sessions, SystemRandom().shuffle)

    def prepare(self) -> None:
        """Open the database, and bring it to this version. Blocks.

        @raise StorageFailed: it cannot be used; the text says why.
        @raise OSError: it cannot be made.
        """
        try:
            url = database_url(self._url, self._state)
            engine = for_writing(url)
            node = node_id(self._state, os.urandom(16))
            migrate(engine, node)
            sharing = self._sharing(engine) if url.get_backend_name() == "postgresql" else None
            engine.dispose()  # its connections would not outlive twistd's fork
        except ValueError as error:
            raise StorageFailed(f"queue.url: {error}") from None
        store, writer = Store(node, self.config.hostname), Writer(engine, self._reactor)
        readers = for_reading(url)
        reader = Reader(readers, self._in_pool("readers"))
        seconds = self._seconds if sharing is None else sharing.time.seconds
        scheduler = self._scheduler(store, writer, reader, sharing, seconds)
        bell = self._bell(url, scheduler) if sharing is not None else None

        def woken() -> None:
            scheduler.wake()
            if bell is not None:
                bell.ring()

        queue = Queue(writer, store, seconds, self._reactor, woken)
        writers = (writer,) if sharing is None else (sharing.beats, writer)
        self._running = _Running(queue, writers, scheduler, readers, bell)

    def _bell(self, url: sa.URL, scheduler: Scheduler) -> Bell:
        """By which nodes that share a queue wake each other."""
        return Bell(for_reading(url), lambda: self._reactor.callFromThread(scheduler.wake))

    def _sharing(self, engine: sa.Engine) -> _Sharing:
        """What there is, with the time asked for already."""
        time = SharedTime(self._seconds, self._reactor.seconds, self._log)
        with trouble(), engine.begin() as connection:
            time.read(connection)
        return _Sharing(Writer(engine, self._reactor), time)

    def _scheduler(
        self, store: Store, writer: Writer, reader: Reader, sharing: _Sharing | None, seconds: Callable[[], float]
    ) -> Scheduler:
        courier: ICourier = self._delivery
        return Scheduler(
            run=writer.run,
            read=reader.run,
            store=store,
            courier=courier,
            content=partial(reading, reader, store),
            clock=self._reactor,
            seconds=seconds,
            settings=lambda: self.config.queue,
            hostname=self.config.hostname,
            random=SystemRandom(),
            log=self._log,
            allowed=lambda destination: self._allowed(destination),
            beat=sharing.time.watched(sharing.beats.run) if sharing is not None else None,
        )

    def start(self) -> None:
        """Begin to take mail, and to take it away."""
        assert self._running is not None  # prepared
        for writer in self._running.writers:
            writer.start()
        self._running.scheduler.start()
        if self._running.bell is not None:
            self._running.bell.start()

    def take_up(self, config: Config) -> None:
        """Go by this configuration from now on."""
        self.config = config
        self._allowed = allowances(config)
        if self._running is not None:
            self._running.scheduler.wake()

    def enqueue(self, messages: Sequence[QueuedMessage], content: Chunks) -> None:
        """See L{IQueue}."""
        if self._running is None:
            raise StorageFailed("the queue is not open")
        self._running.queue.enqueue(messages, content)

    def enqueue_small(self, messages: Sequence[QueuedMessage], content: bytes) -> Deferred[None]:
        """See L{IQueue}."""
        if self._running is None:
            return fail(StorageFailed("the queue is not open"))
        return self._running.queue.enqueue_small(messages, content)

    def stop(self, seconds: float) -> Deferred[None]:
        """End what is under way, at most in C{seconds}, or give it back; then close. The queue takes mail no more."""
        return Deferred.fromCoroutine(self._stop(seconds))

    async def _stop(self, seconds: float) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        if running.bell is not None:
            running.bell.stop()
        await running.scheduler.stop(seconds)
        await self._remote.close()
        for writer in running.writers:
            await self._in_pool("readers")(writer.stop)
        running.readers.dispose()
        for pool in self._pools.values():  # whose threads may wait for a name server longer than we do
            Thread(target=pool.stop, name="stop", daemon=True).start()

    def _in_pool(self, name: str) -> Callable[..., Deferred[Any]]:
        return self._pools[name].run
