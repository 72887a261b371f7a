"""Why a message could not be sent: one exception, and special cases of it.

Two things to tell apart, for who decides about a bounce. Where there are C{outcomes}, they are to be believed, and
those of L{TransactionRefused} may be final. A failure without, be it L{NoSession} or any other, says nothing about the
message, even where the server's reply is a 5yz: another server may be tried, and L{SendingFailed.deferral} tells of it.
"""

from __future__ import annotations

from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply


class SendingFailed(Exception):
    """A session ended, or could not begin, before the message was through.

    @ivar reason: what happened, for people.
    @ivar reply: the server's reply that ended it; C{None} where the server said nothing.
    @ivar outcomes: of each recipient of the transaction it broke: what the server had decided stays decided, the
        rest is L{verdict}. Empty where there was no transaction.
    """

    def __init__(self, reason: str, reply: Reply | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply
        self.outcomes: tuple[Outcome, ...] = ()

    @property
    def verdict(self) -> Reply:
        """The reply that recipients without one of their own get; a local one where the server gave none."""
        return self.reply or Reply(451, "4.4.2", self.reason)

    @property
    def deferral(self) -> Reply:
        """What recipients get where this says nothing about their message: L{verdict}, never permanent."""
        verdict = self.verdict
        if not verdict.permanent:
            return verdict
        return Reply(451, f"4{verdict.status[1:]}" if verdict.status else "4.3.0", self.reason)


class TransactionRefused(SendingFailed):
    """This message cannot go this way: the server refuses its sender, or cannot take such a message (our word then).

    The session stands, and may take another message.
    """


class NoSession(SendingFailed):
    """The server is not there, does not want us, or is not one to talk to."""


class Unreachable(NoSession):
    """No connection came about."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}."""
        return Reply(451, "4.4.1", self.reason)


class GreetingRefused(NoSession):
    """The server refuses the connection, or our greeting."""


class ProtocolError(SendingFailed):
    """The server does not speak SMTP, or lost the thread. The connection has been dropped."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}. Never permanent: a reply out of place decides nothing."""
        return Reply(451, "4.5.0", self.reason)


class NotSecure(NoSession):
    """There is no TLS where it was asked for, or the server at its other end is not the one that was meant."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}."""
        return self.reply or Reply(451, "4.7.5", self.reason)


class HandshakeBroken(NoSession):
    """The connection went, or time was up, in the midst of the TLS handshake: no word on why."""


class LoginFailed(NoSession):
    """The server does not let us in: it refuses the login (C{reply} then), or knows no way to log in that we know."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}."""
        return self.reply or Reply(535, "5.7.0", self.reason)
