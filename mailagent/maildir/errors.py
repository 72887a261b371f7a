"""Which storage trouble an C{OSError} is: no room, one mailbox's, or any other."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable, StorageFailed, StorageFull

#: No room. Running out of descriptors (EMFILE, ENFILE) is not a full disk.
FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}


def reason(error: OSError, mailbox: Mailbox) -> str:
    """On one line, where it happened and what the system said."""
    where = " -> ".join(str(path) for path in (error.filename, error.filename2) if path) or mailbox.path
    return f"{where}: {error.strerror or error}"


def storage_error(error: OSError, mailbox: Mailbox) -> StorageFull | StorageFailed:
    """What to raise for an C{error} met in C{mailbox}."""
    if error.errno in FULL:
        return StorageFull(reason(error, mailbox))
    if error.errno in _UNWRITABLE:
        return MailboxUnwritable(mailbox, reason(error, mailbox))
    return StorageFailed(reason(error, mailbox))


@contextmanager
def trouble_in(mailbox: Mailbox) -> Iterator[None]:
    """Raise the block's C{OSError}s as what they mean for C{mailbox} (see L{storage_error})."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, mailbox) from error
