"""A session process: it serves the listeners it has inherited, and asks the owner of the queue for what it lacks.

It begins when it is given the configuration and the certificates, and reads no file for that. It ends when it is told
to drain, or when the owner is gone: then it listens no more, lets open transactions finish, within the configured time,
and is done.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailagent import log as events
from mailagent.config import Config
from mailagent.parts import Serving, Storage, listener_factory
from mailagent.smtp.tls import Certificates
from mailagent.workers.channel import Channel, Words
from mailagent.workers.counts import Counts, SharedAdmission
from mailagent.workers.listening import listen
from mailagent.workers.remote import RemoteLoginLimits, RemoteQueue

#: Seconds without a sign of life from ourselves after which the system ends us, should the owner be gone, who would
#: have done so long before. Time in which the machine is suspended does not count.
ALARM = 60.0


class Worker:
    """See the module.

    @param listeners: descriptors, in the configuration's order.
    @param silence: has nothing be written any more, where nobody reads.
    @param alarm: has the system end this process in so many seconds, unless it is called again.
    @ivar channel: to the owner.
    """

    _log = Logger(namespace="mailagent.workers")

    def __init__(
        self,
        number: int,
        reactor: Any,
        counts: Counts,
        listeners: Sequence[int],
        silence: Callable[[], None],
        alarm: Callable[[float], object],
    ) -> None:
        self._admission = SharedAdmission(counts, number)
        self._reactor = reactor
        self._listeners = listeners
        self._silence = silence
        self._ports: list[IListeningPort] = []
        self._serving: Serving | None = None
        self._in_pool: Callable[..., Deferred[Any]]
        self._ready: Callable[[], None] = lambda: None
        self._stopping = False
        self._alarm = alarm
        self._beating = LoopingCall(self._beat)
        self._beating.clock = reactor
        words: Words = {
            "start": self._start,
            "make_ready": self._make_ready,
            "put_in_place": lambda octets: self._ready(),
            "drain": lambda octets, seconds: self.drain(seconds),
            "hurry": lambda octets: self._hurry(),
        }
        self.channel = Channel(words, self._owner_gone)

    def _beat(self) -> None:
        self._alarm(ALARM)
        self.channel.tell("beat")

    # Configurations come as the owner has checked them, from a process that could do with us whatever it wants.

    def _start(self, octets: bytes) -> Deferred[None] | None:
        self._alarm(ALARM)
        handed_down: tuple[Config, Certificates] = pickle.loads(octets)  # noqa: S301
        config, certificates = handed_down
        storage = Storage(config, self._reactor)
        self._in_pool = storage.in_pool
        queue, limits = RemoteQueue(self.channel, self._reactor), RemoteLoginLimits(self.channel)
        serving = Serving(config, self._reactor, storage, queue, self._admission, limits)
        serving.parts.tls.use(certificates)
        self._serving = serving
        self._beating.start(1.0)
        if storage.following is None:
            self._listen(serving, config)
            return None
        self._reactor.addSystemEventTrigger("before", "shutdown", storage.following.stop)
        return storage.following.start().addCallback(lambda _: self._listen(serving, config))

    def _listen(self, serving: Serving, config: Config) -> None:
        if self._stopping:
            return
        for descriptor, listener in zip(self._listeners, config.listen, strict=True):
            factory = listener_factory(serving.sessions, listener, self._reactor)
            self._ports.append(listen(self._reactor, descriptor, factory))

    def _make_ready(self, octets: bytes) -> Deferred[None]:
        assert self._serving is not None  # started
        config: Config = pickle.loads(octets)  # noqa: S301

        def made(put_in_place: Callable[[], None]) -> None:
            self._ready = put_in_place

        return self._in_pool(self._serving.parts.make_ready, config).addCallback(made)

    # The end

    def drain(self, seconds: float | None = None) -> None:
        """Listen no more; let open transactions finish, within C{seconds} or the configured time; end."""
        if self._stopping:
            return
        self._stopping = True
        for port in self._ports:
            port.stopListening()
        if self._serving is None:
            self._reactor.stop()
            return
        factory = self._serving.sessions
        seconds = factory.limits.stop_time if seconds is None else seconds
        busy = sum(session.busy for session in factory.sessions)
        events.STOPPING(self._log, sessions=len(factory.sessions), busy=busy, seconds=seconds)
        factory.drain(seconds).addBoth(lambda _: self._reactor.stop())

    def _hurry(self) -> None:
        if self._serving is not None:
            self._serving.sessions.abort()

    def _owner_gone(self) -> None:
        if not self._stopping:
            self._silence()
            self.drain()
