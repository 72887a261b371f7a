"""The users file on the disk: looked at, read, and replaced whole. Everything here blocks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator

import attrs

#: A larger file is refused: a mistake, not a list of users.
_LARGEST = 64 * 1024**2
#: What a file that others use keeps of its mode: its group may read it, nobody else.
_MODE = 0o640


@attrs.frozen
class Fingerprint:
    """What a file looks like from outside; another content does not look the same."""

    inode: int
    size: int
    modified: int
    changed: int
    trouble: str = ""

    @classmethod
    def none(cls, trouble: str) -> Fingerprint:
        """A file that cannot be looked at."""
        return cls(0, 0, 0, 0, trouble)


def fingerprint(path: str) -> Fingerprint:
    """How the file looks now. @raise OSError: there is none, or it cannot be reached."""
    status = os.stat(path)
    return Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_file(path: str) -> bytes:
    """The file's content. @raise OSError: it cannot be read, or is larger than any users file."""
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError("larger than any users file")
    return content


@contextlib.contextmanager
def locked(path: str) -> Iterator[str]:
    """Hold the directory of C{path} against others who would change the file; gives the path, links followed.

    @raise OSError: there is no such directory.
    """
    path = os.path.realpath(path)
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(fd)


def replace_file(path: str, content: bytes) -> None:
    """Put C{content} in the file's place, durably and whole: a reader sees the old one or the new one.

    Owner and group stay; a new file is for its owner alone.

    @raise OSError: it cannot be written, and the old one is still there.
    """
    directory = os.path.dirname(path)
    fd, temporary = tempfile.mkstemp(prefix=".users-", dir=directory)
    try:
        with os.fdopen(fd, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(fd, status.st_uid, status.st_gid)
                os.fchmod(fd, status.st_mode & _MODE)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)
