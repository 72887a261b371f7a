"""A file as the log's target, on a disk that may hang, fail or be full: nobody who logs waits for it.

From L{LogFileStream.begin} on a thread writes. What it has not got to is kept, up to L{LIMIT} octets; what comes beyond
that is lost, and so is what could not be written. Lost lines are counted, and a line says how many they were as soon
as there is something that can be written again. Before, whoever logs writes himself: a process that is going to fork,
to become a daemon, must not have threads.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from threading import Condition, Event, Thread
from typing import Any, Protocol

#: Octets that are kept besides those that are being written.
LIMIT = 1024 * 1024
#: Seconds that the end of the process waits for the disk.
_LAST = 1.0
#: Seconds that the thread waits for more, so that it neither wakes nor writes for each line.
_PAUSE = 0.02


class ILogFile(Protocol):
    """What is written to; both may block, and raise C{OSError}."""

    def write(self, data: bytes, /) -> Any:
        """Write all of it."""


class LogFileStream:
    """See the module. Any thread may write.

    @param encoding: of text; what it lacks is escaped.
    @param lost: composes the line that tells how many lines were lost.
    @param rotate: starts a new file, where there can be one.
    """

    def __init__(
        self, file: ILogFile, encoding: str, lost: Callable[[int], str], rotate: Callable[[], None] | None = None
    ) -> None:
        self._file = file
        self._encoding = encoding
        self._tell_lost = lost
        self._rotate = rotate
        self._kept = bytearray()
        self._lost = 0
        self._rotating = False
        self._ending = Event()
        self._changed = Condition()
        self._thread: Thread | None = None

    def begin(self) -> None:
        """From here on nobody who logs waits."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="log", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def write(self, text: str) -> None:
        """Write whole lines, soon."""
        octets = text.encode(self._encoding, "backslashreplace")
        if self._thread is None:
            self._file.write(octets)
            return
        with self._changed:
            if len(self._kept) + len(octets) > LIMIT:
                self._lost += octets.count(b"\n")
                return
            if not self._kept:
                self._changed.notify()
            self._kept += octets

    def flush(self) -> None:
        """Nothing: it is written, or will be."""

    def rotate(self) -> None:
        """Start a new file, soon: what has been written so far goes into the old one."""
        with self._changed:
            self._rotating = True
            self._changed.notify()

    def close(self) -> None:
        """Give the disk a moment for what is kept. Whoever writes afterwards does it himself, or loses it if the disk
        has not finished. The file stays open."""
        if self._thread is None:
            return
        with self._changed:
            self._ending.set()
            self._changed.notify()
        self._thread.join(_LAST)
        if not self._thread.is_alive():
            self._thread = None
            self._ending.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._kept or self._rotating or self._ending.is_set())
            ending = self._ending.wait(_PAUSE)
            with self._changed:
                kept, self._kept = self._kept, bytearray()
                lost, self._lost = (self._lost, 0) if kept else (0, self._lost)
                rotating, self._rotating = self._rotating, False
            if kept:
                self._put(kept, lost)
            if rotating:
                self._start_new()
            if ending and not self._kept:
                return

    def _put(self, octets: bytearray, lost: int) -> None:
        """Write, and tell how many lines were lost after these; or count them too."""
        told = self._tell_lost(lost).encode(self._encoding, "backslashreplace") if lost else b""
        try:
            self._file.write(bytes(octets + told))
        except OSError:
            with self._changed:
                self._lost += octets.count(b"\n") + lost

    def _start_new(self) -> None:
        try:
            if self._rotate is not None:
                self._rotate()
        except OSError:
            return  # the old one it is
