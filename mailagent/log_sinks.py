"""Where the log's octets go: the kinds of L{mailagent.log_stream.Sink}.

A pipe (socket, terminal) says whether there is room; a disk does not say that it hangs. A file that is to be followed
by a new one keeps being written until the new one is open and has its name, so there is always one.
"""

from __future__ import annotations

import os
import select
import stat
from contextlib import suppress
from io import FileIO

#: Octets that fit wherever there is room at all.
_PIECE = select.PIPE_BUF
#: Octets in a file after which a new one is begun.
_FULL = 1_000_000


class PipeSink:
    """A pipe, a socket or a terminal.

    @param fd: its descriptor.
    """

    may_hang = False

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._room, self._waiting = select.poll(), select.poll()  # each is for one thread at a time
        for poll in (self._room, self._waiting):
            poll.register(fd, select.POLLOUT)
        self._refuses = not os.get_blocking(fd)  # and so need not be asked whether it would block

    def write(self, octets: memoryview, wait: bool) -> int:
        """See L{mailagent.log_stream.Sink}."""
        done = self._put(octets)
        while wait and not done:
            self._waiting.poll()
            done = self._put(octets)
        return done

    def _put(self, octets: memoryview) -> int:
        """Write what there is room for; how many octets that was."""
        done = 0
        with suppress(BlockingIOError):
            while done < len(octets) and (self._refuses or self._room.poll(0)):
                done += os.write(self._fd, octets[done : done + _PIECE])
        return done

    def rotate(self) -> None:
        """Nothing: there is only this one."""


class FileSink:
    """A file that is open.

    @param file: unbuffered.
    """

    may_hang = True

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, octets: memoryview, wait: bool) -> int:
        """See L{mailagent.log_stream.Sink}."""
        return self._file.write(octets) or 0

    def rotate(self) -> None:
        """Nothing: it is somebody else's."""


class RotatingFile(FileSink):
    """The file at a path. The one before is C{PATH.1}, and so on.

    @param path: appended to, if it is there.
    @raise OSError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        super().__init__(FileIO(self._path, "a"))

    def write(self, octets: memoryview, wait: bool) -> int:
        """See L{mailagent.log_stream.Sink}."""
        if os.fstat(self._file.fileno()).st_size >= _FULL:
            with suppress(OSError):
                self.rotate()
        return super().write(octets, wait)

    def rotate(self) -> None:
        """See L{mailagent.log_stream.Sink}."""
        now = os.fstat(self._file.fileno())
        if not stat.S_ISREG(now.st_mode):
            return
        path = f"{self._path}.new"
        with suppress(FileNotFoundError):
            os.unlink(path)
        new = FileIO(path, "x")
        try:
            os.fchmod(new.fileno(), stat.S_IMODE(now.st_mode))
            _shift(self._path)
            os.rename(path, self._path)
        except OSError:
            new.close()
            os.unlink(path)
            raise
        old, self._file = self._file, new
        old.close()


def _shift(path: str) -> None:
    """Have each file move up by one, as far as they have numbers without a gap."""
    if not os.path.lexists(path):  # another has moved it
        return
    names = [path]
    while os.path.lexists(names[-1]):
        names.append(f"{path}.{len(names)}")
    for number in range(len(names) - 1, 0, -1):
        os.rename(names[number - 1], names[number])
