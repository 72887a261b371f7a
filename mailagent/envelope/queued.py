"""A message for the queue, as reception hands it over."""

from __future__ import annotations

import attrs

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope


@attrs.frozen
class QueuedMessage:
    """One message for recipients elsewhere, apart from its content.

    @ivar id: the one identifier by which it is followed.
    @ivar envelope: C{envelope.size} is that of content and header together, as stored (line ends LF).
    @ivar header: fields that go ahead of the content, LF-ended.
    @ivar report_to: who hears of failure and delay: the sender; the owner of the alias, where a stranger's mail is
        forwarded (such a sender is never written to: it may be forged); C{None}, nobody.
    @ivar login: who has sent it, where somebody had logged in; else C{""}.
    @ivar body: content of its own, where that is small; C{None} for the content that is handed over with it.
    """

    id: str
    envelope: Envelope
    header: bytes
    report_to: Address | None
    login: str = ""
    body: bytes | None = None
