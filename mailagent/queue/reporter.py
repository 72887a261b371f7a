"""Reports, with what goes back of the message read from the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from random import Random

import attrs

from mailagent.envelope.message_id import message_id
from mailagent.envelope.queued import QueuedMessage
from mailagent.queue.items import Settlement, StoredMessage
from mailagent.queue.notification import notifications
from mailagent.queue.queue import ContentLost
from mailagent.queue.report import compose
from mailagent.queue.returned import Returned, read_returned

#: How a message is read: see L{mailagent.queue.queue.reading}.
Content = Callable[[StoredMessage], Callable[[], AsyncIterator[bytes]]]


@attrs.frozen
class Reporter:
    """Makes the reports.

    @ivar seconds: the time, in seconds since the epoch.
    @ivar random: for their ids.
    """

    _content: Content
    _hostname: str
    _seconds: Callable[[], float]
    _random: Random

    async def reports(
        self, message: StoredMessage, settlements: Sequence[Settlement], tried: float, give_up: float
    ) -> list[tuple[QueuedMessage, bytes]]:
        """One report of all that is to be told of these settlements, or none.

        @param tried: when the attempt was.
        @param give_up: seconds for which a message is tried.
        @raise mailagent.interfaces.StorageFailed: the message cannot be read now.
        """
        told = notifications(message, settlements, tried, give_up)
        if not told:
            return []
        # RFC 3461 section 4.3: RET is about failure; RFC 8689 section 5: what wanted TLS comes back as its header alone
        envelope = message.envelope
        failed = any(each.action == "failed" for each in told)
        whole = failed and envelope.returned == "FULL" and not envelope.require_tls
        returned = await self._returned(message, whole)
        now = self._seconds()
        id_ = message_id(int(now * 1_000_000), self._random.getrandbits(30))
        return [compose(message, told, returned, self._hostname, id_, now)]

    async def _returned(self, message: StoredMessage, whole: bool) -> Returned:
        try:
            return await read_returned(self._content(message)(), whole)
        except ContentLost:  # reported all the same
            return Returned(message.header)
