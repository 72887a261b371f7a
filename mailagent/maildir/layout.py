"""What a Maildir consists of: making it at start, cleaning it, and looking whether it can be written.

All functions block: for the time before the reactor runs, or for a thread. Only a Maildir's own directories are
made, and only old regular files in its C{tmp} are removed; nothing else is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from twisted.logger import Logger

from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable
from mailagent.log import LEFTOVERS_REMOVED
from mailagent.maildir.errors import FULL, reason
from mailagent.maildir.files import FileLayer

#: Seconds after which a file in C{tmp} is nobody's any more (the maildir convention: 36 hours).
LEFTOVER_AGE = 36 * 3600


def prepare(files: FileLayer, mailboxes: Iterable[Mailbox], now: float, log: Logger) -> None:
    """Make every mailbox ready at start: missing directories made, left-overs of crashes removed.

    @param now: seconds since the epoch.
    @raise MailboxUnwritable: one cannot be made or written; the text is one line and names the path.
    """
    for mailbox in mailboxes:
        make(files, mailbox)
        check(files, mailbox)
        count = clean(files, mailbox, now)
        if count:
            LEFTOVERS_REMOVED(log, mailbox=mailbox.path, count=count)


def make_missing(files: FileLayer, mailboxes: Iterable[Mailbox]) -> Iterator[MailboxUnwritable]:
    """Make those mailboxes that are not there yet, one after the other as it is iterated; what could not be made."""
    for mailbox in mailboxes:
        try:
            files.list_directory(os.path.join(mailbox.path, "tmp"))  # made last
        except (OSError, UnicodeError):
            try:
                make(files, mailbox)
            except MailboxUnwritable as error:
                yield error


def make(files: FileLayer, mailbox: Mailbox) -> None:
    """Make what is missing of a Maildir and of the directories above it, durably.

    @raise MailboxUnwritable: not possible.
    """
    try:
        # tmp comes last: if we are killed before its entry is durable, no mail depends on it.
        for name in ("cur", "new", "tmp"):
            _make_directory(files, os.path.join(mailbox.path, name))
    except OSError as error:
        raise MailboxUnwritable(mailbox, reason(error, mailbox)) from error
    except UnicodeError:
        raise MailboxUnwritable(mailbox, f"{mailbox.path!a} is no file name in this locale") from None


def _make_directory(files: FileLayer, path: str) -> None:
    """Make C{path}, and what is missing above it, unless it is there."""
    parent = os.path.dirname(path)
    try:
        files.make_directory(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directory(files, parent)
        with suppress(FileExistsError):  # another node makes the same mailbox
            files.make_directory(path)
    else:
        # A start that was killed may have made the parent, and not have synced its entry. In a directory that
        # we may not read, it was not us.
        with suppress(PermissionError):
            files.fsync_directory(os.path.dirname(parent))
    files.fsync_directory(parent)


def check(files: FileLayer, mailbox: Mailbox) -> bool:
    """Look whether mail can be put into a Maildir, without leaving anything there.

    A full disk says nothing about the mailbox, and is no reason not to start: it is each message's own trouble.

    @return: whether it was seen to be writable; C{False} where a full disk does not let us see.
    @raise MailboxUnwritable: it cannot; the text is one line and names the path.
    """
    try:
        files.check_writable(os.path.join(mailbox.path, "new"))
        files.close(files.open_anonymous(os.path.join(mailbox.path, "tmp")))
    except OSError as error:
        if error.errno in FULL:
            return False
        raise MailboxUnwritable(mailbox, reason(error, mailbox)) from error
    return True


def clean(files: FileLayer, mailbox: Mailbox, now: float) -> int:
    """Remove the regular files in C{tmp} that are older than L{LEFTOVER_AGE}, and count them.

    @raise MailboxUnwritable: C{tmp} cannot be listed. A file that cannot be removed is left.
    """
    directory = os.path.join(mailbox.path, "tmp")
    try:
        names = files.list_directory(directory)
    except OSError as error:
        raise MailboxUnwritable(mailbox, reason(error, mailbox)) from error
    count = 0
    for name in names:
        path = os.path.join(directory, name)
        with suppress(OSError):
            modified = files.modified(path)
            if modified is not None and modified < now - LEFTOVER_AGE:
                files.unlink(path)
                count += 1
    return count
