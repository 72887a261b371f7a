"""Where an alias leads outside."""

from __future__ import annotations

import attrs

from mailagent.envelope.address import Address


@attrs.frozen
class Forward:
    """Mail for one of our names that goes on to an C{address} elsewhere.

    @ivar alias: the name, as an address of ours: it goes into C{Delivered-To}, by which a loop is noticed.
    @ivar owner: the address of ours that hears of failures (the list's owner, RFC 5321 section 3.9.2).
    """

    address: Address
    alias: Address
    owner: Address
