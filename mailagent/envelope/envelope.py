"""The envelope of a message (RFC 5321 section 2.3.1): from whom and to whom, apart from what its header says."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mailagent.envelope.address import Address
from mailagent.envelope.notify import UNASKED, Notify


@attrs.frozen
class Envelope:
    """One transaction: from whom (C{None} is the null reverse-path), to whom, and what the content is like.

    C{size} is the content's size in octets, if known (RFC 1870); C{eight_bit}, whether it holds octets above 127;
    C{utf8_header}, whether its header does (RFC 6532). C{returned} is C{"FULL"} or C{"HDRS"}, how much of the message
    a report of failure brings back, and C{envelope_id} the sender's name for it (RFC 3461), C{None} where not said;
    C{notify}, what the sender wants to hear of a recipient. C{require_tls}: it may only go where TLS is verified, and
    where that is passed on (RFC 8689 section 4.2.1); with the null reverse-path, it is asked for where that can be had,
    and goes all the same (section 5).
    """

    reverse_path: Address | None
    recipients: tuple[Address, ...]
    size: int | None = None
    eight_bit: bool = False
    utf8_header: bool = False
    returned: str | None = None
    envelope_id: str | None = None
    require_tls: bool = False
    notify: Mapping[Address, Notify] = attrs.field(factory=dict)

    @property
    def insists_on_tls(self) -> bool:
        """Whether it goes under verified TLS, or not at all."""
        return self.require_tls and self.reverse_path is not None

    def wishes(self, recipient: Address) -> Notify:
        """What the sender wants to hear of C{recipient}."""
        return self.notify.get(recipient, UNASKED)
