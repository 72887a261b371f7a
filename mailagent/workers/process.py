"""One session process, as its owner sees it: the channel, what it writes, its end.

It inherits the standard streams, the channel, the counts of sessions, and then the listeners in their order, and
nothing else. What it writes on standard output are lines for the log, passed on whole; on standard error, trouble.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import attrs
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.workers.channel import Channel, Words
from mailagent.workers.owner import Owner

#: The descriptors a session process begins with.
CHANNEL, COUNTS, LISTENERS = 3, 4, 5
#: Octets that a read gives at most, so fewer are all there was; and seconds until the next one then. Lines come one by
#: one, and to wake for each of them would cost as much as a tenth of the message it tells of.
_READ, _PAUSE = 8192, 0.02
#: A line for the log that is longer is passed on in parts.
_LONGEST_LINE = 1024**2


@attrs.frozen
class Calls:
    """Whom a process's news are for. Each is called with the process.

    @ivar beat: it is alive.
    @ivar ended: it has ended; with how, in words.
    """

    beat: Callable[[WorkerProcess], None]
    ended: Callable[[WorkerProcess, str], None]


class WorkerProcess(ProcessProtocol):
    """See the module.

    @param number: its own, from 1.
    @param owner: does what it asks.
    @param write: takes whole lines for the log.
    @param clock: for pauses between reads.
    @ivar channel: to talk to it.
    """

    transport: Any
    _log = Logger(namespace="mailagent.workers")

    def __init__(self, number: int, owner: Owner, write: Callable[[str], None], calls: Calls, clock: Any) -> None:
        self.number = number
        self.pid = 0
        self._owner = owner
        self._write = write
        self._calls = calls
        self._clock = clock
        self._lines = b""
        words: Words = {**owner.words, "beat": lambda octets: calls.beat(self)}
        self.channel = Channel(words)  # one that closes it ends, or is silent from then on, and killed

    def connectionMade(self) -> None:
        """It has been started."""
        self.pid = self.transport.pid

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:
        """Pass on whole lines."""
        whole, newline, rest = (self._lines + data).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._lines = rest
        if newline:
            self._write((whole + newline).decode("utf-8", "replace"))
        if len(data) < _READ:
            self.transport.pauseProducing()
            self._clock.callLater(_PAUSE, self.transport.resumeProducing)

    def errReceived(self, data: bytes) -> None:
        """Tell of trouble: of a start that fails, say."""
        for line in data.decode("utf-8", "replace").splitlines():
            events.ERROR(self._log, what=f"worker {self.number}", reason=line)

    def processEnded(self, reason: Failure) -> None:
        """It is gone, and all its output has been read. Whatever fails here, its end is told."""
        signal, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
        with ExitStack() as last:
            last.callback(self._calls.ended, self, f"exit status {status}" if signal is None else f"signal {signal}")
            last.callback(self.channel.close)
            last.callback(self._owner.gone)
            if self._lines:
                self._write(self._lines.decode("utf-8", "replace") + "\n")


@attrs.frozen
class Launch:
    """Starts session processes.

    @ivar owner: gives what does for a process what it asks.
    @ivar counts: descriptor of the counts of sessions.
    @ivar log_format: see L{mailagent.log.observer}.
    @ivar write: takes whole lines for the log.
    """

    _reactor: Any
    _owner: Callable[[], Owner]
    _counts: int
    _log_format: str
    _write: Callable[[str], None]

    def __call__(self, number: int, listeners: Sequence[int], calls: Calls) -> WorkerProcess:
        """Start one.

        @raise OSError: it cannot be started.
        """
        process = WorkerProcess(number, self._owner(), self._write, calls, self._reactor)
        ours, theirs = socket.socketpair()
        with ours, theirs, open(os.devnull, "rb") as nothing:
            inherited: dict[int, Any] = {0: nothing.fileno(), 1: "r", 2: "r", CHANNEL: theirs.fileno()}
            inherited |= {COUNTS: self._counts} | dict(enumerate(listeners, LISTENERS))
            words = [
                sys.executable,
                "-P",
                "-m",
                "mailagent.workers",
                str(number),
                self._log_format,
                str(len(listeners)),
            ]
            self._reactor.spawnProcess(process, sys.executable, words, _environment(), childFDs=inherited)
            ours.setblocking(False)
            channel = Factory.forProtocol(lambda: process.channel)
            try:
                self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, channel)
            except OSError:
                process.kill()
                raise
        return process


def _environment() -> Mapping[str, str]:
    """Ours: with the same modules to be found, and without what systemd has said to us alone."""
    alone = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    rest = {name: value for name, value in os.environ.items() if name not in alone}
    return rest | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
