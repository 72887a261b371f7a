"""Who hands mail in: some sessions, which go to whichever node takes them."""

from __future__ import annotations

import itertools
import smtplib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress

from tests.peers.outbound_site import ANN, LONG, Message

#: Seconds after which a node that says nothing is left.
_PATIENCE = 3.0


class Load:
    """Hands in each of C{messages}: at once again what is refused for a while; what gets no answer is not tried again.

    @param nodes: where, by turns.
    @ivar acknowledged: those for which there was a C{250}.
    @ivar refused: how often each recipient's message was; where the database went in the middle of a commit, it may
        be there all the same.
    @ivar unanswered: how many got no answer.
    """

    def __init__(self, nodes: Sequence[tuple[str, int]], messages: Sequence[Message], sessions: int = 6) -> None:
        self.acknowledged: list[Message] = []
        self.refused: Counter[str] = Counter()
        self.unanswered = 0
        self._messages, self._total = iter(messages), len(messages)
        self._handed, self._allowed = 0, 0
        self._ending = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, args=(itertools.cycle([*nodes[first:], *nodes[:first]]),), daemon=True)
            for first in (number % len(nodes) for number in range(sessions))
        ]
        for thread in self._threads:
            thread.start()

    def go_on(self, count: int) -> None:
        """Hand in so many more, or what there is; returns in the middle of them."""
        with self._changed:
            self._allowed = min(self._allowed + count, self._total)
            self._changed.notify_all()
            middle = self._allowed - count // 2
            assert self._changed.wait_for(lambda: self._handed >= middle, LONG), self._handed

    def join(self) -> None:
        """Return when all have been handed in that may be."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()

    def _next(self) -> Message | None:
        """The next message, once there may be one."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._handed < self._allowed or self._ending, 2 * LONG)
            if self._handed >= self._allowed:
                return None
            self._handed += 1
            self._changed.notify_all()
            return next(self._messages)

    def _work(self, nodes: Iterable[tuple[str, int]]) -> None:
        """Go from node to node, with a message for each that lets us in."""
        message = self._next()
        for address, port in nodes:
            if message is None:
                return
            with (
                suppress(OSError, smtplib.SMTPException),
                smtplib.SMTP(address, port, "client.test", timeout=_PATIENCE) as client,
            ):
                current, message = message, None
                message = self._hand_in(client, current)
            message = message or self._next()

    def _hand_in(self, client: smtplib.SMTP, message: Message) -> Message | None:
        """Returns it where it is to be handed in again."""
        try:
            client.sendmail(ANN, message.recipients, message.octets)
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
            if any(code >= 500 for code in _codes(error)):
                raise  # it will be missed
            with self._changed:
                self.refused.update(message.recipients)
            return message
        except (OSError, smtplib.SMTPException):
            with self._changed:
                self.unanswered += 1
            raise
        with self._changed:
            self.acknowledged.append(message)
        return None


def _codes(error: smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused) -> list[int]:
    """Of the replies that refused something."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return [code for code, _ in error.recipients.values()]
    return [error.smtp_code]
