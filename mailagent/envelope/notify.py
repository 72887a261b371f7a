"""What a sender wants to hear of a recipient (RFC 3461)."""

from __future__ import annotations

import attrs


@attrs.frozen
class Notify:
    """RCPT's DSN parameters for one recipient.

    @ivar conditions: C{"NEVER"}, or some of C{"SUCCESS"}, C{"FAILURE"} and C{"DELAY"}; empty where the sender did not
        say, which means failure, and delay if we tell of it (RFC 3461 section 4.1).
    @ivar original: the recipient as the sender first knew it: address type in lower case (C{"rfc822"}, C{"utf-8"}) and
        address, decoded.
    """

    conditions: frozenset[str] = frozenset()
    original: tuple[str, str] | None = None

    def asks_for(self, condition: str) -> bool:
        """Whether the sender wants to hear of C{condition}, C{"SUCCESS"}, C{"FAILURE"} or C{"DELAY"}."""
        return condition in self.conditions or (not self.conditions and condition != "SUCCESS")


#: Where a sender said nothing.
UNASKED = Notify()
