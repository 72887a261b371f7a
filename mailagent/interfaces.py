"""The contracts between rooms. What an implementation promises stands here; how it keeps it, there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageSMTP
from zope.interface import Attribute, Interface

from mailagent.envelope.address import Address
from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox


class NoSuchHost(LookupError):
    """The domain is none of ours: to take its mail would be to relay."""


class NoSuchUser(LookupError):
    """The domain is ours, and nobody of that name receives mail there."""


class IDirectory(Interface):
    """Who receives mail here, and where."""

    def resolve(recipient: Address) -> tuple[Mailbox, ...] | Deferred[tuple[Mailbox, ...]]:
        """The mailboxes a recipient's mail goes to, aliases expanded.

        @return: mailboxes, at least one and each once, in a tuple;
            or a C{Deferred} of it.
        @raise NoSuchHost: not our domain.
        @raise NoSuchUser: our domain, nobody's name.
        """

    def mailboxes() -> Iterable[Mailbox]:
        """Every mailbox there is, each once, as an iterable."""


class StorageFull(Exception):
    """No room (or no inodes, or no quota) is left for the message now."""


class StorageFailed(Exception):
    """The message cannot be stored now; the text says why, for the log."""


class MailboxUnwritable(StorageFailed):
    """One mailbox cannot be written now (missing, read-only, not ours): C{mailbox} says which."""

    def __init__(self, mailbox: Mailbox, reason: str) -> None:
        super().__init__(reason)
        self.mailbox = mailbox


class IContentSink(Interface):
    """Takes a message's content as it arrives, in chunks."""

    def write(content: bytes) -> Deferred[None] | None:
        """Take the next octets of the content: dots unstuffed, line ends LF, chunk borders anywhere.

        @return: C{None}, or a C{Deferred} that fires (never fails) when the next chunk is welcome.
            The writer holds its sender back until then.
        """


class IStagedBody(IContentSink):
    """One message's content on its way to storage, shared by all recipients. Not yet durable."""

    size = Attribute("Octets written so far, as stored (line ends LF).")

    def discard() -> None:
        """Forget the content and free what holds it. Safe to call at any time, and again."""


class IMailstore(Interface):
    """Durable local delivery."""

    def stage(mailbox: Mailbox) -> IStagedBody:
        """A new, empty L{IStagedBody}. C{mailbox} (the first recipient's) is where a large one may be kept."""

    def commit(message_id: str, copies: Sequence[Copy], body: IStagedBody) -> Deferred[None]:
        """Put a copy in every mailbox, durably, or in none.

        @param copies: at least one L{Copy}.
        @param body: it is discarded when this is done, either way.
        @return: a C{Deferred} of C{None}, fired once every copy is on stable storage and visible. It fails
            with L{StorageFull}, L{MailboxUnwritable} or L{StorageFailed}, and then nothing new is visible.
        """

    def probe(mailbox: Mailbox) -> Deferred[None] | None:
        """C{None} while the mailbox is not known to be unwritable; else a C{Deferred} of C{None} that fails
        with L{MailboxUnwritable} if it still is, after a look in a thread."""


class IStreamedMessage(IMessageSMTP):
    """An C{IMessage} that would rather have its content in chunks, once for all recipients.

    A session feeds each distinct C{sink} of a transaction's messages once, and calls neither C{lineReceived}
    nor (for the trace header) C{receivedHeader}. C{eomReceived} is then called on every message.
    """

    sink = Attribute("The L{IContentSink} this message shares with the transaction's others.")


class ISessionFacts(Interface):
    """What a session tells those who ask through C{User.protocol}."""

    client = Attribute("A L{mailagent.envelope.trace.Client}: who is at the other end, as of now.")


class IProvenLogin(ICredentials):
    """Credentials whose own exchange has shown, or not, that the client knows the password (SCRAM)."""

    username = Attribute("Whose password, as UTF-8 octets.")
    proven = Attribute("Whether the client has shown that it knows it.")


class ILogins(Interface):
    """What is known of somebody who has logged in."""

    def refresh() -> Deferred[None]:
        """Take up what has changed; fires when that is done, and does not fail."""

    def addresses(name: str) -> tuple[Address, ...] | None:
        """The addresses that are a user's beyond the name's own; C{None} if there is no such user any more."""
