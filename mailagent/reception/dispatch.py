"""One commit: copies into mailboxes and messages into the queue, all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from mailagent.envelope.copy import Copy
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import Chunks, IMailstore, IQueue, IStagedBody


class ComposeNotice(Protocol):
    """Writes a report of success (RFC 3461 section 6.2, RFC 3464)."""

    def __call__(
        self, message: QueuedMessage, outcomes: Sequence[Outcome], beginning: bytes
    ) -> tuple[QueuedMessage, bytes]:
        """The report as a message for the queue, and its content. Called in a thread.

        @param message: what was stored: C{report_to} is whom to tell; C{header} is ahead of its content.
        @param outcomes: of the recipients of whom it tells; C{notice} is each one's action.
        @param beginning: the content's first octets, which hold its header.
        """


@attrs.frozen
class Dispatch:
    """What one commit puts where.

    @ivar notice: composes what the sender is told of the copies' success, given the content's beginning; C{None} where
        nobody asked.
    """

    copies: Sequence[Copy]
    queued: Sequence[QueuedMessage] = ()
    notice: Callable[[bytes], tuple[QueuedMessage, bytes]] | None = None

    def commit(self, id_: str, mailstore: IMailstore, queue: IQueue | None, body: IStagedBody) -> Deferred[None]:
        """Do it; see L{IMailstore.commit} and L{IQueue.enqueue} for how it fails.

        @param id_: names the copies' files.
        """
        if queue is None or not (self.queued or self.notice):
            return mailstore.commit(id_, self.copies, body)
        if not (self.copies or self.notice) and (content := body.at_hand()) is not None:
            return queue.enqueue_small(self.queued, content)
        return mailstore.commit(id_, self.copies, body, partial(self._enqueue, queue))

    def _enqueue(self, queue: IQueue, content: Chunks) -> None:
        messages = list(self.queued)
        if self.notice is not None:
            notice, octets = self.notice(next(content(), b""))
            messages.append(attrs.evolve(notice, body=octets))
        queue.enqueue(messages, content)


def ids(first: str) -> Iterator[str]:
    """Identifiers for the parts of one message: its own, then C{id-2}, C{id-3} and so on."""
    yield first
    for number in count(2):
        yield f"{first}-{number}"
