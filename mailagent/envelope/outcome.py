"""What became of one recipient."""

from __future__ import annotations

import attrs

from mailagent.envelope.address import Address
from mailagent.envelope.reply import Reply


@attrs.frozen
class Outcome:
    """The result of one attempt for one C{recipient}, with the C{reply} that decided it."""

    recipient: Address
    reply: Reply

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
