"""Why a message could not be sent: one exception, and special cases of it."""

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


class Unreachable(SendingFailed):
    """No connection came about."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}."""
        return Reply(451, "4.4.1", self.reason)


class ProtocolError(SendingFailed):
    """The server does not speak SMTP, or lost the thread. The connection has been dropped."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}. Never permanent: a reply out of place decides nothing."""
        return Reply(451, "4.5.0", self.reason)


class NotSecure(SendingFailed):
    """There is no TLS where it was asked for, or the server at its other end is not the one that was meant."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}."""
        return self.reply or Reply(451, "4.7.5", self.reason)


class LoginFailed(SendingFailed):
    """The server does not let us in: it refuses the login (C{reply} then), or knows no way to log in that we know."""

    @property
    def verdict(self) -> Reply:
        """See L{SendingFailed.verdict}."""
        return self.reply or Reply(535, "5.7.0", self.reason)
