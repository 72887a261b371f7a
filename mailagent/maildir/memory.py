"""A file layer in memory for tests, which knows what a power cut leaves behind.

A file's content is durable once L{MemoryFiles.fsync} returned; a name in a directory, or its removal, once
L{MemoryFiles.fsync_directory} of that directory returned. Until then each L{Survival} is a state that a real
file system may come back with. Calls can be made to fail (L{MemoryFiles.fail}), and the power can be cut at or
during any of them (L{MemoryFiles.cut_power}); from then on every call raises L{PowerCut} and changes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from itertools import count

import attrs


class PowerCut(BaseException):
    """The machine is off. Not an C{Exception}: no code gets to handle this."""


class Survival(Enum):
    """What of the state that was not synced is there after the restart."""

    NOTHING = "neither names nor content"
    NAMES = "all names, no content"
    TORN = "all names, half of the content"
    ALL = "everything"


@attrs.frozen
class Call:
    """One call of the file layer: the method's C{name} and the C{path} (for descriptors, the file's) it is for."""

    name: str
    path: str


@attrs.define(eq=False)
class _File:
    modified: float
    content: bytes = b""
    durable: bytes = b""
    lost: bool = False  # an fsync failed: the content is clean in the cache, and will never reach the disk

    def sync(self, torn: bool = False) -> None:
        if not self.lost:
            self.durable = self.after(Survival.TORN).content if torn else self.content

    def after(self, survival: Survival) -> _File:
        if survival is Survival.ALL:
            content = self.content
        elif survival is Survival.TORN:
            content = self.content[: (len(self.durable) + len(self.content)) // 2]
        else:
            content = self.durable
        return _File(self.modified, content, content)


@attrs.define(eq=False)
class _Directory:
    entries: dict[str, _File | _Directory] = attrs.field(factory=dict)
    durable: dict[str, _File | _Directory] = attrs.field(factory=dict)

    def sync(self, torn: bool = False) -> None:
        if torn:
            unsynced = [name for name in self.entries if name not in self.durable]
            self.durable.update((name, self.entries[name]) for name in unsynced[::2])
        else:
            self.durable = dict(self.entries)

    def after(self, survival: Survival) -> _Directory:
        survivors = self.durable if survival is Survival.NOTHING else self.entries
        entries = {name: node.after(survival) for name, node in survivors.items()}
        return _Directory(entries, dict(entries))


@attrs.frozen
class _Fault:
    code: int
    call: str
    path: str
    number: int | None = None

    def hits(self, call: Call, number: int) -> bool:
        if self.number not in (None, number):
            return False
        return self.call in ("", call.name) and self.path in call.path


@attrs.define(eq=False)
class _Descriptor:
    file: _File
    path: str


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)


class MemoryFiles:
    """The L{mailagent.maildir.files.FileLayer} in memory, holding C{/} at first.

    @ivar calls: every L{Call} so far.
    """

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0, whole: bool = False) -> None:
        """
        @param seconds: the time, for L{modified}.
        @param whole: whether the file system may be synced as a whole.
        """
        self.whole = whole
        self.calls: list[Call] = []
        self._seconds = seconds
        self._root = _Directory()
        self._descriptors: dict[int, _Descriptor] = {}
        self._numbers = count(3)
        self._faults: list[_Fault] = []
        self._cut: tuple[int, bool] | None = None
        self._off = False

    # What tests do.

    def fail(self, code: int, call: str = "", path: str = "") -> None:
        """Fail with errno C{code} in every method named C{call} (any, if empty) on a path that contains C{path}."""
        self._faults.append(_Fault(code, call, path))

    def fail_next(self, calls: int, code: int) -> None:
        """Let C{calls} more calls pass and fail the next, and it alone, with errno C{code}."""
        self._faults.append(_Fault(code, "", "", len(self.calls) + calls))

    def heal(self) -> None:
        """Nothing fails any more."""
        self._faults.clear()

    def cut_power(self, calls: int, *, during: bool = False) -> None:
        """Let C{calls} more calls pass and cut the power at the next: before it, or C{during} it.

        A write or fsync that is cut during takes half effect; any other has happened, and nobody was told.
        """
        self._cut = (len(self.calls) + calls, during)

    def restarted(self, survival: Survival) -> MemoryFiles:
        """The files as they are found after the machine has gone off now and on again."""
        files = MemoryFiles(self._seconds, self.whole)
        files._root = self._root.after(survival)
        return files

    def process_restarted(self) -> None:
        """Only the process was killed, where the power would have gone: the system still knows everything."""
        self._off, self._cut = False, None
        self._descriptors.clear()

    def content(self, path: str) -> bytes:
        """What a reader finds in a file. Not a call: nothing fails."""
        return self._file(path).content

    def names(self, path: str) -> list[str]:
        """What a reader finds in a directory, sorted. Not a call: nothing fails."""
        return sorted(self._directory(path).entries)

    @property
    def descriptors(self) -> list[str]:
        """The paths of the files that are open now."""
        return [descriptor.path for descriptor in self._descriptors.values()]

    # The file layer.

    def open_new(self, path: str) -> int:
        with self._call("open_new", path):
            file = _File(self._seconds())
            self._enter(path, file)
            return self._open(file, path)

    def open_anonymous(self, directory: str) -> int:
        with self._call("open_anonymous", directory):
            self._directory(directory)
            return self._open(_File(self._seconds()), directory)

    def write(self, fd: int, content: bytes | bytearray) -> None:
        descriptor = self._descriptor(fd)
        with self._call("write", descriptor.path) as cut:
            descriptor.file.content += content[: len(content) // 2] if cut else content
            descriptor.file.modified = self._seconds()

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        descriptor = self._descriptor(fd)
        with self._call("read_at", descriptor.path):
            return descriptor.file.content[offset : offset + size]

    def fsync(self, fd: int) -> None:
        descriptor = self._descriptor(fd)
        file = descriptor.file
        try:
            with self._call("fsync", descriptor.path) as cut:
                file.sync(torn=cut)
        except OSError:
            file.lost = True
            raise

    def close(self, fd: int) -> None:
        descriptor = self._descriptor(fd)
        del self._descriptors[fd]  # as on Linux, also when it fails
        with self._call("close", descriptor.path):
            pass

    def link(self, source: str, target: str) -> None:
        with self._call("link", target):
            self._enter(target, self._file(source))

    def unlink(self, path: str) -> None:
        with self._call("unlink", path):
            self._file(path)
            del self._directory(os.path.dirname(path)).entries[os.path.basename(path)]

    def make_directory(self, path: str) -> None:
        with self._call("make_directory", path):
            self._enter(path, _Directory())

    def fsync_directory(self, path: str) -> None:
        with self._call("fsync_directory", path) as cut:
            directory = self._directory(path)
            directory.sync(torn=cut)

    def file_system(self, path: str) -> int | None:
        return 1 if self.whole else None

    def open_directory(self, path: str) -> int:
        with self._call("open_directory", path):
            self._directory(path)
            return self._open(_File(self._seconds()), path)

    def sync_file_system(self, fd: int) -> None:
        descriptor = self._descriptor(fd)
        files, directories = self._all(self._root)
        try:
            with self._call("sync_file_system", descriptor.path) as cut:
                for file in files:
                    file.sync(torn=cut)
                for directory in directories:
                    directory.sync(torn=cut)
        except OSError:
            for file in files:
                file.lost = True
            raise

    def list_directory(self, path: str) -> list[str]:
        with self._call("list_directory", path):
            return self.names(path)

    def modified(self, path: str) -> float | None:
        with self._call("modified", path):
            node = self._node(path)
            return node.modified if isinstance(node, _File) else None

    def check_writable(self, path: str) -> None:
        with self._call("check_writable", path):
            self._directory(path)

    # How it is done.

    @contextmanager
    def _call(self, name: str, path: str) -> Iterator[bool]:
        """One call: recorded, failed or cut as was asked for. In the block, whether the power is being cut."""
        if self._off:
            raise PowerCut
        number, call = len(self.calls), Call(name, path)
        self.calls.append(call)
        at, during = self._cut or (-1, False)
        if number == at and not during:
            self._off = True
            raise PowerCut
        for fault in self._faults:
            if fault.hits(call, number):
                raise _error(fault.code, path)
        try:
            yield number == at
        finally:
            if number == at:
                self._off = True
                raise PowerCut

    def _node(self, path: str) -> _File | _Directory:
        node: _File | _Directory = self._root
        for name in path.strip("/").split("/") if path != "/" else ():
            if not isinstance(node, _Directory):
                raise _error(errno.ENOTDIR, path)
            if name not in node.entries:
                raise _error(errno.ENOENT, path)
            node = node.entries[name]
        return node

    def _all(self, directory: _Directory) -> tuple[list[_File], list[_Directory]]:
        """What is below a directory, itself included."""
        files, directories = list[_File](), [directory]
        for node in directory.entries.values():
            if isinstance(node, _File):
                files.append(node)
            else:
                below = self._all(node)
                files += below[0]
                directories += below[1]
        return files, directories

    def _directory(self, path: str) -> _Directory:
        node = self._node(path)
        if not isinstance(node, _Directory):
            raise _error(errno.ENOTDIR, path)
        return node

    def _file(self, path: str) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise _error(errno.EISDIR, path)
        return node

    def _enter(self, path: str, node: _File | _Directory) -> None:
        directory, name = self._directory(os.path.dirname(path)), os.path.basename(path)
        if name in directory.entries:
            raise _error(errno.EEXIST, path)
        directory.entries[name] = node

    def _open(self, file: _File, path: str) -> int:
        fd = next(self._numbers)
        self._descriptors[fd] = _Descriptor(file, path)
        return fd

    def _descriptor(self, fd: int) -> _Descriptor:
        if fd not in self._descriptors:
            raise _error(errno.EBADF, "")
        return self._descriptors[fd]
