"""A local mailbox, as configuration names it."""

from __future__ import annotations

import attrs

from mailagent.envelope.address import Address


@attrs.frozen(cache_hash=True)
class Mailbox:
    """A directory that takes mail: whose it is, and the absolute C{path} of the Maildir.

    Only configuration makes these; nothing that came over the wire is ever part of C{path}.
    """

    owner: Address
    path: str
