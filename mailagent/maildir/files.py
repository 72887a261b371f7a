"""The one file layer of durable delivery: every system call it makes is a method here.

L{FileLayer} is the contract, L{Files} the real one over C{os}; L{mailagent.maildir.memory.MemoryFiles} is the
fake in which tests cut the power. All methods block, so they are called in a thread (or before the reactor
runs), and raise C{OSError} as the system does. Paths are absolute.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from typing import Protocol

from mailagent.maildir.file_systems import FileSystems

#: What the kernel or the file system says when it does not know C{O_TMPFILE}.
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR}


class FileLayer(Protocol):
    """The calls delivery needs, and what each promises."""

    def open_new(self, path: str) -> int:
        """Create a file (mode 0600) for writing. @raise FileExistsError: the name is taken."""

    def open_anonymous(self, directory: str) -> int:
        """A file to write and read that has no name, and is gone when its descriptor is closed."""

    def write(self, fd: int, content: bytes | bytearray) -> None:
        """Append all of C{content}."""

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        """At most C{size} octets from C{offset} on; C{b""} only at the end."""

    def fsync(self, fd: int) -> None:
        """Put the file's content on stable storage. After an error it is lost: a second call proves nothing."""

    def close(self, fd: int) -> None:
        """Free the descriptor."""

    def link(self, source: str, target: str) -> None:
        """Give a file a second name. @raise FileExistsError: the name is taken; nothing is ever overwritten."""

    def unlink(self, path: str) -> None:
        """Remove a name."""

    def make_directory(self, path: str) -> None:
        """Create a directory (mode 0700). @raise FileExistsError: the name is taken."""

    def fsync_directory(self, path: str) -> None:
        """Put a directory's entries on stable storage."""

    def file_system(self, path: str) -> int | None:
        """Which file system a directory is on, if L{sync_file_system} is to be used there now. Never fails."""

    def open_directory(self, path: str) -> int:
        """A descriptor of a directory, for L{sync_file_system}."""

    def sync_file_system(self, fd: int) -> None:
        """Put everything on stable storage that was written, made or removed on the file system since C{fd} was opened.
        After an error any of it may be lost."""

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory."""

    def modified(self, path: str) -> float | None:
        """When a regular file was last written, in seconds since the epoch; C{None} for anything else."""

    def check_writable(self, path: str) -> None:
        """Nothing, if C{path} is a directory in which this process may create files. @raise OSError: it is not."""


class Files:
    """The L{FileLayer} of the operating system. Descriptors are not inherited by child processes (PEP 446)."""

    def __init__(self, file_systems: FileSystems | None = None) -> None:
        self._file_systems = file_systems or FileSystems()

    def open_new(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open_anonymous(self, directory: str) -> int:
        if hasattr(os, "O_TMPFILE"):
            try:
                return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
        fd, path = tempfile.mkstemp(dir=directory)
        try:
            os.unlink(path)
        except OSError:
            os.close(fd)
            raise
        return fd

    def write(self, fd: int, content: bytes | bytearray) -> None:
        written = os.write(fd, content)
        while written < len(content):
            written += os.write(fd, memoryview(content)[written:])

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def link(self, source: str, target: str) -> None:
        os.link(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def make_directory(self, path: str) -> None:
        os.mkdir(path, 0o700)

    def fsync_directory(self, path: str) -> None:
        fd = self.open_directory(path)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def file_system(self, path: str) -> int | None:
        return self._file_systems.number(path)

    def open_directory(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync_file_system(self, fd: int) -> None:
        self._file_systems.sync(fd)

    def list_directory(self, path: str) -> list[str]:
        return os.listdir(path)

    def modified(self, path: str) -> float | None:
        status = os.lstat(path)
        return status.st_mtime if stat.S_ISREG(status.st_mode) else None

    def check_writable(self, path: str) -> None:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            return
        code = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code), path)
