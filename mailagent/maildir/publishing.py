"""One message's copies, put into their mailboxes durably: all of them or none.

The order is what makes it safe, in every state a power cut can leave behind:

 1. each copy is written to C{tmp/NAME}, a new file, and fsynced: from here on it is whole wherever it is seen;
 2. each is linked to C{new/NAME}, which never overwrites;
 3. each distinct C{new} is fsynced once: from here on the copies are there to stay;
 4. another store that has a part in the message commits, if there is one;
 5. the names in C{tmp} are removed. One that stays is harmless, and old ones are removed at the next start.

What fails before 5 removes everything made so far, as far as that is possible, and raises. A failed fsync is
never tried again: the kernel may have dropped the pages, and a second one would say all is well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs

from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import Chunks
from mailagent.maildir.errors import trouble_in
from mailagent.maildir.files import FileLayer
from mailagent.maildir.staging import StagedContent


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
        return os.path.join(self.mailbox.path, "new")

    @property
    def staged(self) -> str:
        return os.path.join(self.mailbox.path, "tmp", self.name)

    @property
    def published(self) -> str:
        return os.path.join(self.mailbox.path, "new", self.name)


@attrs.define(eq=False)
class Publication:
    """One run of the order above. Blocks, so for a thread."""

    _files: FileLayer
    _entries: Sequence[Entry]
    _last: Callable[[Chunks], None] | None = None
    _staged: list[str] = attrs.field(factory=list, init=False)
    _published: list[str] = attrs.field(factory=list, init=False)

    def run(self, content: StagedContent) -> None:
        """Put every copy in place, or none.

        @raise mailagent.interfaces.StorageFull: no room.
        @raise mailagent.interfaces.MailboxUnwritable: one mailbox is missing, read-only or not ours.
        @raise mailagent.interfaces.StorageFailed: anything else the system refused.
        @raise Exception: what the other store's commit raised.
        """
        try:
            for entry in self._entries:
                with trouble_in(entry.mailbox):
                    self._stage(entry, content)
            for entry in self._entries:
                with trouble_in(entry.mailbox):
                    self._files.link(entry.staged, entry.published)
                    self._published.append(entry.published)
            for directory, mailbox in {entry.new: entry.mailbox for entry in self._entries}.items():
                with trouble_in(mailbox):
                    self._files.fsync_directory(directory)
            if self._last is not None:
                self._last(content.chunks)
        except BaseException:
            self._remove(self._published)
            raise
        finally:
            self._remove(self._staged)

    def _stage(self, entry: Entry, content: StagedContent) -> None:
        fd = self._files.open_new(entry.staged)
        self._staged.append(entry.staged)
        try:
            ahead = entry.copy.header
            for chunk in content.chunks():  # the last one may be empty, and carries the header then
                if ahead or chunk:
                    self._files.write(fd, ahead + chunk)
                ahead = b""
            self._files.fsync(fd)
        finally:
            self._files.close(fd)

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            with suppress(OSError):
                self._files.unlink(path)
