"""The directory in force: a place for one that can be exchanged while sessions go on."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailagent.envelope.address import Address
from mailagent.envelope.forward import Forward
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import IDirectory


@implementer(IDirectory)
@attrs.define(eq=False)
class CurrentDirectory:
    """An L{IDirectory} that asks another, C{current}, which may be replaced at any time."""

    current: IDirectory

    def resolve(self, recipient: Address) -> tuple[Mailbox | Forward, ...] | Deferred[tuple[Mailbox | Forward, ...]]:
        """See L{IDirectory.resolve}."""
        return self.current.resolve(recipient)

    def mailboxes(self) -> Iterable[Mailbox]:
        """See L{IDirectory.mailboxes}."""
        return self.current.mailboxes()
