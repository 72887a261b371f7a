"""C{python -m mailagent.workers NUMBER LOG-FORMAT LISTENERS}: a session process.

L{mailagent.workers.process} starts it, and nobody else.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import Any

from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from zope.interface import provider

from mailagent import log
from mailagent.log_file import LogFileStream
from mailagent.parts import spare_what_stays
from mailagent.workers.counts import Counts
from mailagent.workers.process import CHANNEL, COUNTS, LISTENERS
from mailagent.workers.worker import Worker


def main(number: int, log_format: str, listeners: int) -> None:
    """Serve until the end.

    @param listeners: how many.
    """
    from twisted.internet import reactor

    lines = _begin_log(number, log_format)
    clock: Any = reactor
    clock.seconds = time.monotonic  # as in the owner: the wall clock may be set
    worker = Worker(number, clock, Counts.of(COUNTS), range(LISTENERS, LISTENERS + listeners), _silence)
    # A terminal, or a supervisor of services, may signal all processes; for us, our owner decides.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: clock.callFromThread(worker.drain))
    clock.adoptStreamConnection(CHANNEL, socket.AF_UNIX, Factory.forProtocol(lambda: worker.channel))
    os.close(CHANNEL)
    clock.callWhenRunning(spare_what_stays)
    clock.run(installSignalHandlers=False)
    lines.close()
    os._exit(0)  # nothing is left to do, and to take the interpreter down takes its time


def _begin_log(number: int, log_format: str) -> LogFileStream:
    """Write lines for the owner's log, each with our number; to write each at once would cost as much as a reply."""
    output, lines = log.together(log_format, 1)

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        event["worker"] = number
        output(event)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
    return lines


def _silence() -> None:
    """Let nothing be written to a pipe that nobody reads."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
