"""What the client asks of the server: each time in a session of its own, that begins and ends here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import attrs

from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.smtp.sender import Sender


@attrs.frozen
class Submission:
    """A server to submit to. C{connect} opens a session, greeted, or raises C{SendingFailed}."""

    _connect: Callable[[], Awaitable[Sender]]

    async def check(self, envelope: Envelope) -> tuple[Outcome, ...]:
        """What the server says to each recipient, without sending anything.

        @raise mailagent.smtp.sending_failed.SendingFailed: see L{Sender.check}.
        """
        sender = await self._connect()
        try:
            return await sender.check(envelope)
        finally:
            await sender.quit()

    async def submit(self, envelope: Envelope, message: Iterable[bytes]) -> tuple[Outcome, ...]:
        """Send C{message}, which comes in blocks.

        @return: one outcome for each recipient.
        @raise mailagent.smtp.sending_failed.SendingFailed: see L{Sender.submit}.
        """
        sender = await self._connect()
        try:
            return await sender.submit(envelope, message)
        finally:
            await sender.quit()
