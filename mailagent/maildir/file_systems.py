"""File systems that are synced as a whole: one C{syncfs(2)} for many files, in place of an C{fsync(2)} for each.

It is as good as that only where it reports what went wrong, and ends with all of it on stable storage: on ext4 and XFS,
under a kernel that hands errors through (Linux 5.8 for content, 5.17 for the rest). Elsewhere it is not used.

It waits for what other programs have written to the file system as well. Where that takes long, it is not used there
for a while.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from collections.abc import Callable
from time import monotonic

import attrs

_OLDEST_KERNEL = (5, 17)
#: ext4 (and its forebears), XFS: C{f_type} in C{statfs(2)}.
_KINDS = {0xEF53, 0x58465342}
#: Seconds that it may take, and for how many it is not used after it took longer.
SLOW, REST = 0.25, 60.0
_MOST_STATFS = 512
#: What a sandbox says that does not let us.
_FORBIDDEN = {errno.EPERM, errno.EACCES, errno.ENOSYS}


def _kernel(release: str) -> tuple[int, ...]:
    """The first two numbers of a kernel's release; none, if it is spelt otherwise."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return tuple(map(int, found.groups())) if found else ()


@attrs.define
class _Use:
    """Of a file system: whether it can be synced as a whole, since when that is done, and until when it is not."""

    can: bool
    began: dict[int, float] = attrs.field(factory=dict)  # by the descriptor
    rests_until: float = 0.0


class FileSystems:
    """See the module. Its methods block, and may be called by several threads at the same time.

    @param kinds: those that may be synced as a whole, by C{f_type}.
    @param seconds: a clock that is never set.
    """

    def __init__(
        self,
        kinds: frozenset[int] = frozenset(_KINDS),
        release: str = os.uname().release,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._seconds = seconds
        self._known: dict[int, _Use] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        modern = sys.platform == "linux" and _kernel(release) >= _OLDEST_KERNEL
        self._kinds = kinds if modern and hasattr(self._libc, "syncfs") else frozenset()

    def number(self, path: str) -> int | None:
        """Which file system a directory is on; C{None}, if it is not to be synced as a whole now, or cannot be told."""
        if not self._kinds:
            return None
        try:
            number = os.stat(path).st_dev
            use = self._known.get(number)
            if use is None:
                use = self._known[number] = _Use(self._kind(path) in self._kinds)
        except OSError:
            return None
        return number if use.can and self._is_quick(use) else None

    def sync(self, fd: int) -> None:
        """Put all that was written since C{fd} was opened, to the file system that it is on, on stable storage.

        @param fd: of a directory whose file system has been asked for (L{number}).
        @raise OSError: some of that, whoever wrote it, may not be there.
        """
        use, began = self._known[os.fstat(fd).st_dev], self._seconds()
        use.began[fd] = began
        try:
            self._call("syncfs", fd)
        except OSError as error:
            use.can = error.errno not in _FORBIDDEN
            raise
        finally:
            del use.began[fd]
            if self._seconds() - began > SLOW:
                use.rests_until = self._seconds() + REST

    def _is_quick(self, use: _Use) -> bool:
        now = self._seconds()
        return now >= use.rests_until and all(now - began <= SLOW for began in tuple(use.began.values()))

    def _kind(self, path: str) -> int:
        found = ctypes.create_string_buffer(_MOST_STATFS)
        self._call("statfs", os.fsencode(path), found)
        return int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)

    def _call(self, name: str, *arguments: object) -> None:
        """Call a function of the C library, which returns -1 where it fails. Other threads run meanwhile."""
        if getattr(self._libc, name)(*arguments):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
