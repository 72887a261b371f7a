"""Standard output as the log's target, where its reader may be slow or asleep: nobody who logs waits for it.

What cannot be written at once is kept, up to L{LIMIT} octets, and a thread writes it as there is room; what comes
beyond that is lost, and counted: a line says so in its place. The thread runs only while something is kept. A target
that is gone, or refuses, takes nothing and is no trouble to anybody.
"""

from __future__ import annotations

import atexit
import os
import select
from collections.abc import Callable
from threading import Lock, Thread

#: Octets that are kept for a slow reader.
LIMIT = 1024 * 1024
#: Octets that fit wherever there is room at all (C{PIPE_BUF}).
_PIECE = select.PIPE_BUF
#: Seconds that the end of the process waits for the reader.
_LAST = 1.0


class LogStream:
    """See the module. Any thread may write.

    @param fd: a pipe, a socket or a terminal.
    @param encoding: of text; what it lacks is escaped.
    @param lost: composes the line that tells how many writes were lost.
    """

    def __init__(self, fd: int, encoding: str, lost: Callable[[int], str]) -> None:
        self._fd = fd
        self._encoding = encoding
        self._tell_lost = lost
        self._lost = 0
        self._kept = bytearray()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        atexit.register(self.close)

    def write(self, text: str) -> None:
        """Write whole lines, now or when there is room."""
        octets = text.encode(self._encoding, "backslashreplace")
        with self._lock:
            if self._thread is None:
                octets = octets[self._put(octets) :]
            if octets:
                self._keep(octets)

    def flush(self) -> None:
        """Nothing: it is written, or waits for room."""

    def close(self) -> None:
        """Give the reader a moment for what is kept. The descriptor stays open."""
        thread = self._thread
        if thread is not None:
            thread.join(_LAST)

    def _put(self, octets: bytes | bytearray) -> int:
        """Write what there is room for; how many octets that was."""
        done = 0
        try:
            while done < len(octets) and self._poll.poll(0):
                done += os.write(self._fd, octets[done : done + _PIECE])
        except BlockingIOError:  # whoever has set it to be so
            return done
        except OSError:
            return len(octets)
        return done

    def _keep(self, octets: bytes) -> None:
        if len(self._kept) + len(octets) > LIMIT:
            self._lost += 1
            return
        self._kept += octets
        if self._thread is None:
            self._thread = Thread(target=self._work, name="log", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """Write what is kept, until nothing is."""
        room = select.poll()
        room.register(self._fd, select.POLLOUT)
        while True:
            room.poll()
            with self._lock:
                del self._kept[: self._put(self._kept)]
                if not self._kept and self._lost:
                    self._kept += self._tell_lost(self._lost).encode()
                    self._lost = 0
                if not self._kept:
                    self._thread = None
                    return
