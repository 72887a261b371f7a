"""The envelope of a message (RFC 5321 section 2.3.1): from whom and to whom, apart from what its header says."""

from __future__ import annotations

import attrs

from mailagent.envelope.address import Address


@attrs.frozen
class Envelope:
    """One transaction: from whom (C{None} is the null reverse-path), to whom, and what the content is like.

    C{size} is the content's size in octets, if known (RFC 1870); C{eight_bit}, whether it holds octets above 127;
    C{utf8_header}, whether its header does (RFC 6532).
    """

    reverse_path: Address | None
    recipients: tuple[Address, ...]
    size: int | None = None
    eight_bit: bool = False
    utf8_header: bool = False
