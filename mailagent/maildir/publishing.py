"""Messages' copies, put into their mailboxes durably: of each message all or none.

The order is what makes it safe, in every state a power cut can leave behind:

 1. each copy is written to C{tmp/NAME}, a new file, and fsynced: from here on it is whole wherever it is seen;
 2. each is linked to C{new/NAME}, which never overwrites;
 3. each distinct C{new} is fsynced once: from here on the copies are there to stay;
 4. another store that has a part in a message commits, if there is one;
 5. the names in C{tmp} are removed. One that stays is harmless, and old ones are removed at the next start.

Several messages go through each step together, so that a directory is fsynced once for all of them. What fails for
one fails that message alone: everything made for it so far is removed, as far as that is possible, and the others go
on. Only the fsync of a directory is shared, and so is its failure. A failed fsync is never tried again: the kernel may
have dropped the pages, and a second one would say all is well.
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

    def stage(self, entry: Entry) -> None:
        """Write one copy. Several may be written at a time."""
        if self.error is None:
            self.at.append(entry.mailbox)
            try:
                self._write(entry)
            except Exception as error:
                self.fail(error, entry.mailbox)
            finally:
                self.at.remove(entry.mailbox)

    def _write(self, entry: Entry) -> None:
        path = entry.staged
        fd = self._files.open_new(path)
        self._staged.append(path)
        try:
            ahead = entry.copy.header
            for chunk in self._content.chunks():  # the last one may be empty, and carries the header then
                if ahead or chunk:
                    self._files.write(fd, ahead + chunk)
                ahead = b""
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


def in_turn(job: Callable[[Any], None], things: Iterable[Any]) -> None:
    """A L{Spread} over no threads but the caller's."""
    for thing in things:
        job(thing)


def publish(files: FileLayer, messages: Sequence[Publication], spread: Spread = in_turn) -> None:
    """Take messages through the order above; then those without an C{error} are durable. Blocks, so for a thread.

    @param spread: how the copies are written, and the directories fsynced, at the same time.
    """
    try:
        spread(_stage, [(message, entry) for message in messages for entry in message.entries])
        for message in messages:
            message.link()
        spread(partial(_fsync_directory, files), _directories(messages))
        for message in messages:
            message.conclude()
    finally:
        for message in messages:
            message.clean_up()


def _stage(copy: tuple[Publication, Entry]) -> None:
    message, entry = copy
    message.stage(entry)


def _directories(messages: Sequence[Publication]) -> list[tuple[str, list[tuple[Publication, Mailbox]]]]:
    """Each directory in which there is something new, and all who have a copy there."""
    directories: dict[str, list[tuple[Publication, Mailbox]]] = {}
    for message in messages:
        if message.error is None:
            for entry in message.entries:
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
