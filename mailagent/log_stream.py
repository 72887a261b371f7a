"""The log's lines on their way to a disk that may hang, fail or be full, or to a reader that is slow or asleep: nobody
who logs waits.

From L{LogStream.begin} on, what cannot be written at once is kept, up to L{LIMIT} octets, and a thread writes it; what
comes beyond that is lost, and so is what could not be written. Lost lines are counted, and a line says how many they
were as soon as there is something that can be written again. Before, whoever logs writes himself: a process that is
going to fork, to become a daemon, must not have threads.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Event, Thread
from typing import Protocol

#: Octets that are kept besides those that are being written; more, if it is a single text.
LIMIT = 1024 * 1024
#: Seconds that the end of the process waits for the disk, or the reader.
_LAST = 1.0
#: Seconds that the thread waits for more, so that it neither wakes nor writes for each line.
_PAUSE = 0.02


class Sink(Protocol):
    """What takes octets.

    @ivar may_hang: whether a write may take any time, even where there is room.
    """

    may_hang: bool

    def write(self, octets: memoryview, wait: bool) -> int:
        """Write some octets.

        @param wait: for room.
        @return: how many; 0 where there is no room.
        @raise OSError: none can be written.
        """

    def rotate(self) -> None:
        """Begin a new file, where there can be one.

        @raise OSError: it cannot be had; the old one goes on.
        """


class LogStream:
    """See the module. Any thread may write.

    @param encoding: of text; what it lacks is escaped.
    @param lost: composes the line that tells how many lines were lost.
    """

    def __init__(self, sink: Sink, encoding: str, lost: Callable[[int], str]) -> None:
        self._sink = sink
        self._encoding = encoding
        self._tell_lost = lost
        self._kept = bytearray()
        self._lost = 0
        self._torn = False
        self._writing = False
        self._rotating = False
        self._ending = Event()
        self._changed = Condition()
        self._thread: Thread | None = None

    def begin(self) -> None:
        """From here on nobody who logs waits."""
        with self._changed:
            if self._thread is None:
                self._ending.clear()
                self._thread = Thread(target=self._work, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def write(self, text: str) -> None:
        """Write whole lines, now or soon."""
        octets = self._encode(text)
        with self._changed:
            if self._thread is None:
                self._put(octets, wait=False)
            elif rest := octets[self._put_at_once(octets) :]:
                self._keep(rest)

    def flush(self) -> None:
        """Nothing: it is written, or will be."""

    def rotate(self) -> None:
        """Start a new file, soon: what has been written so far goes into the old one."""
        with self._changed:
            self._rotating = True
            self._changed.notify()

    def close(self) -> None:
        """Give the target a moment for what is kept; it stays open. Whoever writes afterwards does it himself, or loses
        it if the target has not finished."""
        with self._changed:
            thread = self._thread
            self._ending.set()
            self._changed.notify()
        if thread is not None:
            thread.join(_LAST)

    def _encode(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")

    def _put_at_once(self, octets: bytes) -> int:
        """Write what certainly takes no time, unless something else comes first; how many octets that was."""
        if self._sink.may_hang or self._kept or self._writing or self._lost:
            return 0
        with suppress(OSError):  # the thread will find it out
            return self._sink.write(memoryview(octets), wait=False)
        return 0

    def _keep(self, octets: bytes) -> None:
        if not self._kept:
            self._changed.notify()
        elif len(self._kept) + len(octets) > LIMIT:
            self._lost += octets.count(b"\n")
            return
        self._kept += octets

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._kept or self._rotating or self._ending.is_set())
            self._ending.wait(_PAUSE)
            with self._changed:
                if not self._kept and not self._rotating:
                    self._thread = None
                    return
                kept, self._kept = bytes(self._kept), bytearray()
                rotating, self._rotating = self._rotating, False
                self._writing = True
            self._put(kept, wait=True)
            if rotating:
                with suppress(Exception):  # the old one it is
                    self._sink.rotate()
            with self._changed:
                self._writing = False

    def _put(self, octets: bytes, wait: bool) -> None:
        """Write, and tell how many lines were lost after these; or count them too."""
        with self._changed:
            lost, self._lost = self._lost, 0
        told = self._encode(self._tell_lost(lost)) if lost else b""
        begin = b"\n" if self._torn else b""
        text = memoryview(begin + octets + told)
        done = 0
        with suppress(Exception):  # whatever the target does, the log goes on
            while done < len(text) and (written := self._sink.write(text[done:], wait)):
                done += written
        if done:
            self._torn = text[done - 1] != 10
        if done < len(text):
            with self._changed:
                self._lost += octets.count(b"\n", max(done - len(begin), 0)) + lost
