"""The state directory: what the server keeps between runs, and who the running server is.

Files here are made whole or not at all, readable by us alone unless asked otherwise, and what is there is never
overwritten. Other users of the machine may pass through to the local socket and the drop, and see nothing else. All
functions block: for the time before the reactor runs, for a thread, or for a command.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress

_PID_FILE = "mailagent.pid"
#: The local socket for submission, and where a message is left while nobody listens there.
SUBMIT_SOCKET, DROP = "submit.sock", "drop"
#: Everybody may pass through, to those two; nobody may look around.
_PASSABLE = 0o711
#: Everybody may put files there, nobody look around or touch those of others.
_DROP_MODE = 0o1733


def make_directory(path: str) -> None:
    """Make the directory (mode 0711), its L{spool}, and what is missing above it, unless it is there. It is there to
    stay then: what is acknowledged on the strength of a file in it would go with it.

    @raise OSError: not possible.
    """
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        _make_durably(path, 0o700)
        os.chmod(path, _PASSABLE)  # whatever the umask
    with suppress(PermissionError):  # in a directory that we may not read, it was not us who made it
        _sync_directory(os.path.dirname(path))
    for made in (spool(path), os.path.join(spool(path), "tmp")):
        with suppress(FileExistsError):
            os.mkdir(made, 0o700)


def _make_durably(path: str, mode: int = 0o777) -> None:
    """Make a directory, and first what is missing above it, each with its entry on stable storage before the next."""
    parent = os.path.dirname(path)
    if not os.path.exists(parent):
        _make_durably(parent)
        _sync_directory(os.path.dirname(parent))
    try:
        os.mkdir(path, mode)
    except FileExistsError:  # another has just made it, unless it is something else
        if not os.path.isdir(path):
            raise


def _sync_directory(path: str) -> None:
    """Put a directory's entries on stable storage."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_drop(directory: str) -> str:
    """Make the drop in the state directory, or put its mode right (1733); its path.

    @raise OSError: not possible, or something else has its name.
    """
    path = os.path.join(directory, DROP)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(fd, _DROP_MODE)
    finally:
        os.close(fd)
    return path


def spool(path: str) -> str:
    """Where in the state directory C{path} large content is kept as it comes in, if no mailbox is its own.

    Its C{tmp} is used, for files without names.
    """
    return os.path.join(path, "spool")


def write_new(path: str, content: bytes, mode: int = 0o600) -> None:
    """Make a file that is durable and whole when it appears.

    @raise FileExistsError: the name is taken; its file is as it was.
    @raise OSError: not possible.
    """
    directory = os.path.dirname(os.path.abspath(path))
    fd, temporary = tempfile.mkstemp(prefix=".", dir=directory)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    _sync_directory(directory)


class PidFile:
    """The running server's number, in a file that it holds locked while it runs.

    The lock is what counts: it ends with the process, however that ends, so a left-over number is nobody's.
    """

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, _PID_FILE)
        self._fd: int | None = None

    def claim(self) -> bool:
        """Put our number there; C{False} where another server of this state directory runs, which keeps its own.

        @raise OSError: the file cannot be written.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the place up, if it is ours. The file stays: to remove it could remove the next server's."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def running(self) -> int | None:
        """The number of the server that runs, or C{None}.

        @raise OSError: the file is there, and cannot be read.
        """
        with suppress(FileNotFoundError), open(self._path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                number = file.read(32).strip()
                return int(number) if number.isdigit() else None
        return None


def _lock(fd: int) -> None:
    """Lock for ourselves alone; who only looks (L{PidFile.running}) holds the lock for a moment, and is waited for.

    @raise BlockingIOError: a server holds it.
    """
    for pause in (0.01, 0.05, 0.2):
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(pause)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
