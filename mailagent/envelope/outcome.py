"""What became of one recipient."""

from __future__ import annotations

import attrs

from mailagent.envelope.address import Address
from mailagent.envelope.reply import Reply


@attrs.frozen
class Hop:
    """Where an attempt went: the server's name, its IP address, and the TLS in use; C{""} for what there was not."""

    host: str = ""
    address: str = ""
    tls: str = ""


@attrs.frozen
class Outcome:
    """The result of one attempt for one C{recipient}, with the C{reply} that decided it.

    @ivar hop: whose reply it is. Where it is our own, the hop has no C{host}, but perhaps the address that the attempt
        went to.
    @ivar notice: once delivered, the action that a notice of success would have to tell (RFC 3464 section 2.3.3):
        C{"delivered"} for a mailbox, C{"relayed"} for a server without DSN; C{""} where the next hop tells it.
    """

    recipient: Address
    reply: Reply
    hop: Hop = Hop()
    notice: str = ""

    @property
    def delivered(self) -> bool:
        """The server took responsibility for this recipient's copy."""
        return self.reply.positive

    @property
    def deferred(self) -> bool:
        """Not delivered; a later attempt may succeed."""
        return self.reply.transient

    @property
    def failed(self) -> bool:
        """Not delivered, and never will be."""
        return self.reply.permanent
