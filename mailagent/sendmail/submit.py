"""Handing a message to the server over the local socket, and what to make of its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.sendmail.message import Message
from mailagent.smtp.sender import open_session
from mailagent.smtp.sending_failed import SendingFailed
from mailagent.smtp.timeouts import Timeouts

#: Seconds: the server is on this machine, and there is the drop.
_PATIENCE = Timeouts(greeting=30, command=30, mail=30, rcpt=60, data=60, block=60, verdict=180)


@attrs.frozen
class Submitted:
    """What became of a message.

    @ivar outcomes: one for each recipient, where the server has decided; empty where it could not be asked.
    @ivar trouble: why it could not, or C{""}.
    """

    outcomes: tuple[Outcome, ...] = ()
    trouble: str = ""

    def undecided(self, envelope: Envelope) -> Envelope | None:
        """The envelope for those recipients whom the server has neither taken nor refused, if any."""
        decided = {each.recipient for each in self.outcomes if not each.deferred}
        rest = tuple(recipient for recipient in envelope.recipients if recipient not in decided)
        return attrs.evolve(envelope, recipients=rest) if rest else None

    @property
    def refused(self) -> Sequence[Outcome]:
        """The outcomes of those whom the server has refused."""
        return [each for each in self.outcomes if each.failed]


async def submit(
    endpoint: Callable[[], IStreamClientEndpoint], clock: IReactorTime, name: str, envelope: Envelope, message: Message
) -> Submitted:
    """Try to hand a message over. Does not fail: whatever goes wrong, the recipients are undecided.

    @param endpoint: the local socket.
    @param name: this host's name.
    """
    try:
        sender = await open_session(endpoint(), clock, name, _PATIENCE)
    except SendingFailed as failure:  # nobody was asked for a recipient yet
        return Submitted(trouble=failure.reason)
    try:
        return Submitted(await sender.submit(envelope, message.blocks()))
    except SendingFailed as failure:
        return Submitted(failure.outcomes, failure.reason)
    finally:
        await sender.quit()
