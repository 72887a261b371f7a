"""The mailboxes of a directory that changes: made as they come, and tried again until they are there.

What cannot be made is told once. It is tried again at every look, a bounded number at a time: a file system that was
full, or not mounted, gets its mailboxes when it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import islice

from twisted.logger import Logger

from mailagent import log as events
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable

#: Mailboxes that could not be made of which the log tells at a time.
_MOST_TOLD = 20
#: Mailboxes that are tried again at a time.
_MOST_TRIED = 1000


class NewMailboxes:
    """See the module. All of it blocks, and is for one thread at a time.

    @param make_ready: makes mailboxes that are missing; yields what is wrong with those that it could not make.
    """

    def __init__(self, make_ready: Callable[[Iterable[Mailbox]], Iterable[MailboxUnwritable]]) -> None:
        self._make_ready = make_ready
        self._missing: dict[str, Mailbox] = {}

    def make(self, mailboxes: Iterable[Mailbox], known: Collection[str]) -> None:
        """Make those of a directory that are new, or were missing.

        @param mailboxes: all that there are from now on; others are forgotten.
        @param known: the paths of those that there were before.
        """
        before, self._missing = self._missing, {}
        wanted = (each for each in mailboxes if each.path not in known or each.path in before)
        self._tell([error for error in self._try(wanted) if error.mailbox.path not in before])

    def try_again(self) -> None:
        """Try again to make what is missing: those that have waited longest."""
        for _ in self._try([self._missing.pop(path) for path in list(islice(self._missing, _MOST_TRIED))]):
            pass  # told already

    def _try(self, mailboxes: Iterable[Mailbox]) -> Iterable[MailboxUnwritable]:
        for error in self._make_ready(mailboxes):
            self._missing[error.mailbox.path] = error.mailbox
            yield error

    def _tell(self, errors: Collection[MailboxUnwritable]) -> None:
        log = Logger("mailagent")
        for error in islice(errors, _MOST_TOLD):
            events.ERROR(log, what="making a mailbox", reason=str(error))
        if len(errors) > _MOST_TOLD:
            reason = f"{len(errors) - _MOST_TOLD} more could not be made"
            events.ERROR(log, what="making mailboxes", reason=reason)
