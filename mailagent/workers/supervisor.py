"""Looks after the session processes: starts them, replaces those that end, kills those that hang, stops them all.

What can be relied on:

  1. One that has ended is replaced: at once if it had lived for a while, else after a pause that doubles.
  2. Each tells every second that it is alive. Silence is counted in looks of ours, one a second, and not in time: what
     stops the whole machine stops us as well, and is nobody's fault.
  3. A changed configuration is taken up by all or by none. One that ends meanwhile has no vote, and its successor
     begins with what is valid then: the configuration, and the certificates that are in use, whatever their files
     have become.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.config import Config, ConfigError
from mailagent.smtp.tls import Certificates
from mailagent.workers.counts import Counts
from mailagent.workers.process import Calls, WorkerProcess

#: Seconds of silence after which a process is taken to hang; and until it is first heard of.
SILENCE, FIRST_SILENCE = 10, 60
#: Seconds a process lives for its end to be no sign of more to come; the longest pause before the next, otherwise.
STEADY, LONGEST_PAUSE = 60.0, 60.0
#: Seconds that a process gets to end beyond what its transactions get.
_LAST_WORDS = 3.0

#: How a process ends that was told to, be it by a signal to all of us that came before it was ready for one.
_WELL = ("exit status 0", "signal 15")
#: Starts a process: its number, the listeners' descriptors, whom to tell.
Launches = Callable[[int, Sequence[int], Calls], WorkerProcess]


@attrs.define(eq=False)
class _Place:
    """One of the places that are always taken.

    @ivar process: who has it now.
    @ivar silent: looks since it was last heard of; C{heard}: whether it ever was.
    @ivar pause: seconds before the next one, should this one end too soon.
    """

    number: int
    process: WorkerProcess | None = None
    began: float = 0.0
    heard: bool = False
    silent: int = 0
    pause: float = 0.0
    next: IDelayedCall | None = None


class Supervisor:
    """See the module.

    @param counts: cleared of a process's sessions when it ends.
    @param certificates: gives those in use, and looks for new ones; called every second.
    """

    _log = Logger(namespace="mailagent.workers")

    def __init__(
        self, config: Config, clock: Any, launch: Launches, counts: Counts, certificates: Callable[[], Certificates]
    ) -> None:
        self._config = config
        self._clock = clock
        self._launch = launch
        self._counts = counts
        self._certificates = certificates
        self._places = [_Place(number) for number in range(1, config.workers + 1)]
        self._listeners: list[int] = []
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock
        self._stopped: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def start(self, ports: Sequence[IListeningPort]) -> None:
        """Begin, with these ports' sockets."""
        if self._stopped is not None:
            return
        self._listeners = [port.fileno() for port in ports]  # type: ignore[attr-defined]
        for place in self._places:
            self._fill(place)
        self._looking.start(1.0, now=False)

    # One after the other

    def _fill(self, place: _Place) -> None:
        place.next, place.heard, place.silent, place.began = None, False, 0, self._clock.seconds()
        calls = Calls(partial(self._beat, place), partial(self._ended, place))
        try:
            place.process = self._launch(place.number, self._listeners, calls)
        except OSError as error:
            events.ERROR(self._log, what=f"starting worker {place.number}", reason=str(error))
            self._fill_again(place)
            return
        asked = place.process.channel.ask("start", pickle.dumps((self._config, self._certificates())))
        asked.addCallbacks(partial(self._serves, place.process), partial(self._serves_not, place.process))

    def _serves(self, process: WorkerProcess, _: object) -> None:
        events.WORKER_STARTED(self._log, worker=process.number, pid=process.pid)

    def _serves_not(self, process: WorkerProcess, failure: Failure) -> None:
        if failure.check(ConnectionLost):
            return  # it ends, as it may have been told to; or it is silent from now on, and is killed for that
        events.ERROR(self._log, what=f"worker {process.number}, its start", reason=str(failure.value))
        process.kill()

    def _beat(self, place: _Place, process: WorkerProcess) -> None:
        if process is place.process:
            place.heard, place.silent = True, 0

    def _look(self) -> None:
        self._certificates()
        for place in self._places:
            if place.process is None:
                continue
            place.silent += 1
            patience = SILENCE if place.heard else FIRST_SILENCE
            if place.silent == patience:
                events.WORKER_HUNG(self._log, worker=place.number, pid=place.process.pid, seconds=patience)
                place.process.kill()

    def _ended(self, place: _Place, process: WorkerProcess, status: str) -> None:
        if process is not place.process:
            return  # one that could not be started whole: it never had the place
        self._counts.clear(place.number)
        pid, place.process = process.pid, None
        if self._stopped is None:
            events.WORKER_ENDED(self._log, worker=place.number, pid=pid, status=status)
            if self._clock.seconds() - place.began >= STEADY:
                place.pause = 0.0
            self._fill_again(place)
        elif status not in _WELL:
            events.WORKER_ENDED(self._log, worker=place.number, pid=pid, status=status)
        self._perhaps_stopped()

    def _fill_again(self, place: _Place) -> None:
        place.next = self._clock.callLater(place.pause, self._fill, place)
        place.pause = min(max(1.0, 2 * place.pause), LONGEST_PAUSE)

    # Together

    def _processes(self) -> list[WorkerProcess]:
        return [place.process for place in self._places if place.process is not None]

    def agree(self, config: Config) -> Deferred[Callable[[], Deferred[Any]]]:
        """Have all processes make a changed configuration ready.

        @return: fires with what has them put it in place; fails with L{ConfigError} where one cannot.
        """
        return Deferred.fromCoroutine(self._agree(config))

    async def _agree(self, config: Config) -> Callable[[], Deferred[Any]]:
        asked = self._processes()
        packed = pickle.dumps(config)
        answers = await DeferredList(
            [process.channel.ask("make_ready", packed) for process in asked], consumeErrors=True
        )
        refusals = [
            f"worker {process.number}: {answer.value}"
            for process, (made, answer) in zip(asked, answers, strict=True)
            if not made and not answer.check(ConnectionLost)
        ]
        if refusals:
            raise ConfigError(refusals)

        def put_in_place() -> Deferred[Any]:
            self._config = config
            return DeferredList([self._put_in_place(process, packed, asked) for process in self._processes()])

        return put_in_place

    def _put_in_place(self, process: WorkerProcess, packed: bytes, ready: Sequence[WorkerProcess]) -> Deferred[Any]:
        channel = process.channel
        if process in ready:
            placed = channel.ask("put_in_place")
        else:  # it has begun meanwhile, with what was valid then
            made = channel.ask("make_ready", packed)
            placed = made.addCallback(lambda _: channel.ask("put_in_place"))
        return placed.addErrback(partial(self._serves_not, process))

    def stop(self, seconds: float) -> Deferred[None]:
        """Let open transactions finish, within so many seconds; fires when all processes have ended, or cannot."""
        self._stopped = Deferred()
        if self._looking.running:
            self._looking.stop()
        for place in self._places:
            if place.next is not None and place.next.active():
                place.next.cancel()
        for process in self._processes():
            process.channel.tell("drain", seconds=seconds)
        stopped = self._stopped
        self._end_by(seconds + _LAST_WORDS)
        self._perhaps_stopped()
        return stopped

    def hurry(self) -> None:
        """While stopping: wait no longer."""
        if self._stopped is not None and not self._stopped.called:
            for process in self._processes():
                process.channel.tell("hurry")
            self._end_by(_LAST_WORDS)

    def _end_by(self, seconds: float) -> None:
        if self._deadline is not None and self._deadline.active():
            if self._deadline.getTime() <= self._clock.seconds() + seconds:
                return
            self._deadline.cancel()
        self._deadline = self._clock.callLater(seconds, self._kill_all)

    def _kill_all(self) -> None:
        for process in self._processes():
            process.kill()
        if self._processes():
            self._deadline = self._clock.callLater(_LAST_WORDS, self._give_up)

    def _give_up(self) -> None:
        """Wait no more for who is not ended even by being killed, as long as a disk that hangs has it."""
        numbers = ", ".join(str(process.number) for process in self._processes())
        events.ERROR(self._log, what="stopping", reason=f"workers that do not end, waited for no more: {numbers}")
        self._all_ended()

    def _perhaps_stopped(self) -> None:
        if not self._processes():
            self._all_ended()

    def _all_ended(self) -> None:
        if self._stopped is None or self._stopped.called:
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._stopped.callback(None)
