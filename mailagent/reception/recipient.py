"""A recipient that a transaction has accepted, and where its mail goes."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from mailagent.envelope.address import Address
from mailagent.envelope.forward import Forward
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.notify import UNASKED, Notify
from mailagent.interfaces import IDirectory


async def resolved(directory: IDirectory, address: Address) -> tuple[Mailbox | Forward, ...]:
    """Where mail for C{address} goes, as the directory says at once or later.

    @raise NoSuchHost: not our domain.
    @raise NoSuchUser: our domain, nobody's name.
    """
    found: Any = directory.resolve(address)
    targets: tuple[Mailbox | Forward, ...] = await found if isinstance(found, Deferred) else found
    return targets


@attrs.frozen
class Recipient:
    """One C{address} of RCPT. With neither mailboxes nor forwards it is itself elsewhere.

    @ivar notify: what the sender wants to hear of it.
    """

    address: Address
    mailboxes: tuple[Mailbox, ...] = ()
    forwards: tuple[Forward, ...] = ()
    notify: Notify = UNASKED

    @classmethod
    def of(cls, address: Address, targets: tuple[Mailbox | Forward, ...], notify: Notify = UNASKED) -> Recipient:
        """One whose mail goes to C{targets}, as a directory has said."""
        mailboxes = tuple(target for target in targets if isinstance(target, Mailbox))
        return cls(address, mailboxes, tuple(target for target in targets if isinstance(target, Forward)), notify)

    @property
    def remote(self) -> bool:
        """Whether it is none of ours."""
        return not self.mailboxes and not self.forwards

    @property
    def leaves(self) -> bool:
        """Whether a copy goes elsewhere."""
        return self.remote or bool(self.forwards)

    @property
    def success(self) -> str:
        """What a notice of success says as soon as its copies are stored (RFC 3464 section 2.3.3); C{""}: not yet.

        Whom an alias stands for is not told: it is the alias that has its mail (RFC 3461 section 5.2.7).
        """
        if self.remote:
            return ""
        if len(self.mailboxes) + len(self.forwards) > 1:
            return "expanded"
        return "delivered" if self.mailboxes else "relayed"
