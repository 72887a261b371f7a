"""One recipient's copy of a message."""

from __future__ import annotations

import attrs

from mailagent.envelope.mailbox import Mailbox


@attrs.frozen
class Copy:
    """What goes into C{mailbox} ahead of the shared body: C{header}, LF-ended lines of bytes."""

    mailbox: Mailbox
    header: bytes
