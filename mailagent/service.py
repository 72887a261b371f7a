"""The running server: bind, prepare, serve, stop in good order.

twistd calls L{MailAgent.privilegedStartService} as root, sheds privileges, then calls
L{MailAgent.startService}; mailboxes are therefore made by the user who will write them. What fails on
the way ends the start with one line on standard error and exit status 1. SIGTERM and SIGINT let open transactions
finish; a second one does not wait for them. Nor is a disk waited for that does not answer: what hangs there was
never acknowledged. SIGHUP has the configuration read again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, Protocol, TextIO, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.config import Config
from mailagent.config.schema import Listener
from mailagent.interfaces import StorageFailed, StorageFull
from mailagent.parts import listener_factory
from mailagent.smtp.certificate import CertificateUnusable
from mailagent.smtp.factory import SessionFactory
from mailagent.threads import Threads


def _is_null(stream: TextIO | None) -> bool:
    """Whether what is written there is lost."""
    return stream is None or os.path.samestat(os.fstat(stream.fileno()), os.stat(os.devnull))


#: Seconds for jobs under way to end, where the time for transactions is used up.
_LEAST_WAIT = 1.0
#: Seconds for the rest of the server to write down what it has come to, beyond its time.
_LAST_WORDS = 5.0


class StartError(SystemExit, Exception):
    """The server cannot start. As a C{SystemExit} it ends the process without a traceback; as an C{Exception}
    it has twistd clean up and, where there is one, tell the parent process."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.code = 1
        if _is_null(sys.__stderr__):  # a daemon: the log is all there is
            events.ERROR(Logger("mailagent"), what="cannot start", reason=line)
        else:
            print(f"mailagent: {line}", file=sys.__stderr__, flush=True)


class SessionProcesses(Protocol):
    """Those who serve the listeners in our place."""

    def start(self, ports: Sequence[IListeningPort]) -> None:
        """Begin, on these ports."""

    def stop(self, seconds: float) -> Deferred[None]:
        """Let open transactions finish, within so many seconds; fires when all have ended."""

    def hurry(self) -> None:
        """While stopping: wait no longer."""


class MailAgent(Service):
    """The server as a Twisted service.

    @param prepare: makes mailboxes, state and certificates ready; called once privileges are shed. Raises
        L{StorageFailed}, L{CertificateUnusable} or C{OSError}.
    @param announce: called with the listening ports when the server is ready.
    @param reload: has the configuration read again; called at SIGHUP.
    @param observer: takes the log, unless it is C{None}: then twistd's own does.
    @param begin: sets the rest of the server to work, once all is ready.
    @param end: has it end, within so many seconds; called when no session is in a transaction any more.
    @param processes: serve the listeners; without them, we do.
    @param threads: those that write mail; they are stopped with the service.
    """

    name = "mailagent"
    _log = Logger()

    def __init__(
        self,
        config: Config,
        factory: SessionFactory,
        threads: Threads,
        reactor: Any,
        prepare: Callable[[], None],
        announce: Callable[[list[IListeningPort]], None],
        reload: Callable[[], None],
        observer: ILogObserver | None = None,
        begin: Callable[[], None] = lambda: None,
        end: Callable[[float], Deferred[None]] = lambda seconds: succeed(None),
        processes: SessionProcesses | None = None,
    ) -> None:
        self._config = config
        self._factory = factory
        self._threads = threads
        self._reactor = reactor
        self._prepare = prepare
        self._announce = announce
        self._reload = reload
        self._observer = observer
        self._begin = begin
        self._end = end
        self._processes = processes
        self._ports: list[IListeningPort] = []
        self._stopping = False
        self._hurry = False
        self._stop_by = 0.0
        self._rest_ends: Deferred[None] | None = None
        self._threads_end: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, which asks its components for an observer before it begins to log."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Bind every listener.

        @raise StartError: one cannot be bound.
        """
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._hang_up))
        for listener in self._config.listen:
            self._ports.append(self._bind(listener))

    def _bind(self, listener: Listener) -> IListeningPort:
        endpoint = listener.endpoint
        factory = listener_factory(self._factory, listener, self._reactor)
        outcome: list[Any] = []
        try:
            listening = serverFromString(self._reactor, endpoint).listen(factory)
            listening.addBoth(outcome.append)
        except Exception:
            outcome = [Failure()]
        if not outcome:
            raise StartError(f"cannot listen on {endpoint}: this kind of endpoint is not ready at once")
        if isinstance(outcome[0], Failure):
            raise StartError(f"cannot listen on {endpoint}: {_reason(outcome[0].value)}")
        if self._processes is not None and not _stand_back(outcome[0], factory):
            raise StartError(f"cannot listen on {endpoint}: with workers, only on tcp:, unix: and systemd: endpoints")
        return cast(IListeningPort, outcome[0])

    def startService(self) -> None:
        """Make the mailboxes ready, say where we are.

        @raise StartError: a mailbox, the state directory or the queue cannot be written, or a certificate cannot be
            used.
        """
        try:
            self._prepare()
        except (StorageFailed, StorageFull, CertificateUnusable) as error:
            raise StartError(_line(error)) from None
        except OSError as error:
            raise StartError(f"state: {error.filename or self._config.state}: {error.strerror}") from None
        super().startService()
        self._begin()
        self._reactor.callWhenRunning(self._catch_signals)
        if self._processes is not None:
            self._reactor.callWhenRunning(self._processes.start, self._ports)
        self._reactor.callWhenRunning(self._announce, self._ports)

    def addresses(self) -> list[tuple[str, int]]:
        """Where we listen on TCP now: IP addresses and ports."""
        hosts = [port.getHost() for port in self._ports]
        return [(host.host, host.port) for host in hosts if isinstance(host, IPv4Address | IPv6Address)]

    def stopService(self) -> Deferred[None]:
        """Stop listening; let open transactions finish within the configured time; stop the threads."""
        super().stopService()
        seconds = self._factory.limits.stop_time
        self._stop_by = self._reactor.seconds() + seconds
        sessions = self._factory.sessions
        busy = sum(session.busy for session in sessions)
        events.STOPPING(self._log, sessions=len(sessions), busy=busy, seconds=seconds)
        closed = [port.stopListening() for port in self._ports]
        drained = [maybeDeferred(self._factory.drain, seconds)]
        if self._processes is not None:
            drained.append(self._processes.stop(seconds))
        stopped = gatherResults([*(wait for wait in closed if wait is not None), *drained])
        if self._hurry:
            self._abort()
        return stopped.addBoth(self._stopped)

    def _stopped(self, _: object) -> Deferred[None]:
        left = 0.0 if self._hurry else max(self._stop_by - self._reactor.seconds(), 0.0)
        most = _LEAST_WAIT if self._hurry else left + _LAST_WORDS
        self._rest_ends = _when_ended(maybeDeferred(self._end, left)).addTimeout(most, self._reactor)
        ended = self._rest_ends.addErrback(self._not_ended).addCallback(lambda _: self._end_threads())
        return ended.addBoth(lambda _: events.STOPPED(self._log))

    def _not_ended(self, failure: Failure) -> None:
        events.ERROR(self._log, what="stopping", reason=repr(failure.value))

    def _end_threads(self) -> Deferred[None]:
        """Let the jobs under way end, if they do in what is left of the time. They may hang on a disk that does not
        answer; nobody was told C{250} for one of them.
        """
        if not self._threads.working:
            self._threads.stop()
            return succeed(None)
        ended: Deferred[None] = Deferred()

        def tell() -> None:
            if not ended.called:
                ended.callback(None)

        def stop() -> None:
            self._threads.stop()
            self._reactor.callFromThread(tell)

        Thread(target=stop, name="stop", daemon=True).start()
        self._threads_end = ended
        left = 0.0 if self._hurry else self._stop_by - self._reactor.seconds()
        return ended.addTimeout(max(left, _LEAST_WAIT), self._reactor).addErrback(self._give_up)

    def _give_up(self, _: Failure) -> None:
        jobs = self._threads.working
        events.ERROR(self._log, what="stopping", reason=f"jobs on the disk that do not end, waited for no more: {jobs}")

    def _catch_signals(self) -> None:
        """Replace the reactor's handlers, under which twistd would report death by signal after a good stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._stop))

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()
        else:
            self._hurry = True
            self._abort()
            ending = self._threads_end or self._rest_ends
            if ending is not None:
                ending.cancel()

    def _abort(self) -> None:
        self._factory.abort()
        if self._processes is not None:
            self._processes.hurry()

    def _hang_up(self) -> None:
        if self.running:
            self._reload()


def _stand_back(port: Any, factory: IProtocolFactory) -> bool:
    """Leave a port's connections to those who inherit its socket; C{False} where they could not serve them alike."""
    if getattr(port, "factory", None) is not factory or not hasattr(port, "stopReading"):
        return False
    port.stopReading()
    return True


def _when_ended(done: Deferred[None]) -> Deferred[None]:
    """Fires as C{done} does; to be cancelled is its own affair: C{done} may hang on a disk, and hear of nothing."""
    ended: Deferred[None] = Deferred()

    def tell(result: Failure | None) -> None:
        if not ended.called:
            ended.callback(result)

    done.addBoth(tell)
    return ended


def _reason(error: BaseException | None) -> str:
    """Why a port cannot be had: the system's words, where there are such."""
    error = getattr(error, "socketError", error)
    return getattr(error, "strerror", None) or _line(error)


def _line(error: BaseException | None) -> str:
    """An exception's text on one line; its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
