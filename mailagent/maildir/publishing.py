"""Messages' copies, put into their mailboxes durably: of each message all or none.

The order is what makes it safe, in every state a power cut can leave behind:

 1. each copy is written to C{tmp/NAME}, a new file, and synced: from here on it is whole wherever it is seen;
 2. each is linked to C{new/NAME}, which never overwrites;
 3. each distinct C{new} is synced once: from here on the copies are there to stay;
 4. another store that has a part in a message commits, if there is one;
 5. the names in C{tmp} are removed. One that stays is harmless, and old ones are removed at the next start.

Several messages go through each step together. What fails for one fails that message alone: everything made for it so
far is removed, as far as that is possible, and the others go on. Where several copies go to one file system, it is
synced as a whole, if it can be (L{mailagent.maildir.file_systems}), once for step 1 and once for step 3; else each copy
is fsynced, and each directory once for all copies in it. What is shared fails for all who share it. A sync that failed
is never tried again: the kernel may have dropped the pages, and a second one would say all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import attrs

from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import Chunks
from mailagent.maildir.errors import storage_error
from mailagent.maildir.files import FileLayer
from mailagent.maildir.staging import StagedContent

#: Copies for which a file system is synced as a whole, at least: a few are there as soon with fsyncs of their own.
TOGETHER = 4

#: Does a job, which raises no C{Exception}, for each of some things, and returns when all of it is done.
Spread = Callable[[Callable[[Any], None], Sequence[Any]], None]


@attrs.frozen
class Entry:
    """One copy under its Maildir-unique C{name}."""

    copy: Copy
    name: str

    @property
    def mailbox(self) -> Mailbox:
        return self.copy.mailbox

    @property
    def new(self) -> str:
        """The directory in which it will be seen."""
        return f"{self.mailbox.path}/new"

    @property
    def staged(self) -> str:
        return f"{self.mailbox.path}/tmp/{self.name}"  # noqa: S108 (a Maildir's own)

    @property
    def published(self) -> str:
        return f"{self.mailbox.path}/new/{self.name}"


@attrs.define(eq=False)
class Publication:
    """One message on its way through the order above. Its methods block, so they are for threads.

    @ivar error: what it failed with: L{mailagent.interfaces.StorageFull} (no room),
        L{mailagent.interfaces.MailboxUnwritable} (one mailbox is missing, read-only or not ours),
        L{mailagent.interfaces.StorageFailed} (anything else the system refused), or what the other store raised.
    @ivar at: mailboxes of which a call is under way, as far as that is known; read by other threads.
    """

    _files: FileLayer
    entries: Sequence[Entry]
    _content: StagedContent
    _last: Callable[[Chunks], None] | None = None
    error: Exception | None = attrs.field(default=None, init=False)
    at: list[Mailbox] = attrs.field(factory=list, init=False)
    _safe: bool = attrs.field(default=False, init=False)
    _staged: list[str] = attrs.field(factory=list, init=False)
    _published: list[str] = attrs.field(factory=list, init=False)

    def fail(self, error: Exception, mailbox: Mailbox) -> None:
        """Fail alone, with an C{error} met in C{mailbox}; the first one stays."""
        self.error = self.error or (storage_error(error, mailbox) if isinstance(error, OSError) else error)

    def check(self) -> None:
        """@raise Exception: what it failed with, if it did."""
        if self.error is not None:
            raise self.error

    def stage(self, entry: Entry, fsync: bool) -> None:
        """Write one copy. Several may be written at a time."""
        if self.error is None:
            self.at.append(entry.mailbox)
            try:
                self._write(entry, fsync)
            except Exception as error:
                self.fail(error, entry.mailbox)
            finally:
                self.at.remove(entry.mailbox)

    def _write(self, entry: Entry, fsync: bool) -> None:
        path = entry.staged
        fd = self._files.open_new(path)
        self._staged.append(path)
        try:
            ahead = entry.copy.header
            for chunk in self._content.chunks():  # the last one may be empty, and carries the header then
                if ahead or chunk:
                    self._files.write(fd, ahead + chunk)
                ahead = b""
            if fsync:
                self._files.fsync(fd)
        finally:
            self._files.close(fd)

    def link(self) -> None:
        """Make all copies visible."""
        for entry in self.entries:
            if self.error is None:
                try:
                    self._files.link(entry.staged, published := entry.published)
                    self._published.append(published)
                except Exception as error:
                    self.fail(error, entry.mailbox)

    def conclude(self) -> None:
        """Ask the other store for its word, if there is one; the copies are durable."""
        if self.error is not None:
            return
        try:
            if self._last is not None:
                self._last(self._content.chunks)
        except Exception as error:
            self.error = error
        else:
            self._safe = True

    def clean_up(self) -> None:
        """Remove what is not to stay."""
        for path in self._staged if self._safe else [*self._published, *self._staged]:
            with suppress(OSError):
                self._files.unlink(path)


#: A copy, and the message that it is of.
_Part = tuple[Publication, Entry]


@attrs.frozen(eq=False)
class Volume:
    """A file system that several copies go to, which is synced as a whole.

    @ivar fd: of a directory there, opened before anything was written: what fails from then on is reported by it.
    """

    _files: FileLayer
    _fd: int
    _parts: Sequence[_Part]

    def stage(self) -> None:
        """Write all copies, durably."""
        for message, entry in self._parts:
            message.stage(entry, fsync=False)
        self._sync(self._files.sync_file_system)

    def confirm(self) -> None:
        """Make durable that they are linked. The directory is fsynced as well: that fails where the file system has
        given up altogether, which not every kernel says otherwise (ext4 did not, in Linux 6.12)."""
        self._sync(self._files.sync_file_system, self._files.fsync)

    def _sync(self, *steps: Callable[[int], None]) -> None:
        """A failure is that of all who have a copy there."""
        if all(message.error is not None for message, _ in self._parts):
            return
        try:
            for step in steps:
                step(self._fd)
        except OSError as error:
            for message, entry in self._parts:
                message.fail(error, entry.mailbox)

    def close(self) -> None:
        """Have it no more."""
        with suppress(OSError):
            self._files.close(self._fd)


def in_turn(job: Callable[[Any], None], things: Iterable[Any]) -> None:
    """A L{Spread} over no threads but the caller's."""
    for thing in things:
        job(thing)


def publish(files: FileLayer, messages: Sequence[Publication], spread: Spread = in_turn) -> None:
    """Take messages through the order above; then those without an C{error} are durable. Blocks, so for a thread.

    @param spread: how the copies are written, and the directories fsynced, at the same time.
    """
    volumes, others = _sorted_out(files, [(message, entry) for message in messages for entry in message.entries])
    try:
        spread(_stage, others)
        for volume in volumes:
            volume.stage()
        for message in messages:
            message.link()
        for volume in volumes:
            volume.confirm()
        spread(partial(_fsync_directory, files), _directories(others))
        for message in messages:
            message.conclude()
    finally:
        for message in messages:
            message.clean_up()
        for volume in volumes:
            volume.close()


def _sorted_out(files: FileLayer, parts: Sequence[_Part]) -> tuple[list[Volume], Sequence[_Part]]:
    """The file systems that several copies go to, as far as they can be synced as a whole; and the other copies."""
    if len(parts) < TOGETHER:
        return [], parts
    places: dict[int | None, list[_Part]] = {}
    for part in parts:
        places.setdefault(files.file_system(part[1].new), []).append(part)
    volumes, others = [], places.pop(None, [])
    for some in places.values():
        try:
            fd = files.open_directory(some[0][1].new) if len(some) >= TOGETHER else None
        except OSError:  # whoever needs it will meet it
            fd = None
        if fd is None:
            others += some
        else:
            volumes.append(Volume(files, fd, some))
    return volumes, others


def _stage(part: _Part) -> None:
    message, entry = part
    message.stage(entry, fsync=True)


def _directories(parts: Iterable[_Part]) -> list[tuple[str, list[tuple[Publication, Mailbox]]]]:
    """Each directory in which there is something new, and all who have a copy there."""
    directories: dict[str, list[tuple[Publication, Mailbox]]] = {}
    for message, entry in parts:
        if message.error is None:
            directories.setdefault(entry.new, []).append((message, entry.mailbox))
    return list(directories.items())


def _fsync_directory(files: FileLayer, shared: tuple[str, list[tuple[Publication, Mailbox]]]) -> None:
    """Fsync a directory. Its failure is that of all who have a copy there."""
    directory, sharers = shared
    first, place = sharers[0]
    first.at.append(place)
    try:
        files.fsync_directory(directory)
    except OSError as error:
        for message, mailbox in sharers:
            message.fail(error, mailbox)
    finally:
        first.at.remove(place)
