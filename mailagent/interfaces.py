"""The contracts between rooms. What an implementation promises stands here; how it keeps it, there."""

from __future__ import annotations

from twisted.mail.interfaces import IMessageSMTP
from zope.interface import Attribute, Interface


class NoSuchHost(LookupError):
    """The domain is none of ours: to take its mail would be to relay."""


class NoSuchUser(LookupError):
    """The domain is ours, and nobody of that name receives mail there."""


class IDirectory(Interface):
    """Who receives mail here, and where."""

    def resolve(recipient):  # type: ignore[no-untyped-def]
        """The mailboxes a recipient's mail goes to, aliases expanded.

        @type recipient: L{mailagent.envelope.address.Address}
        @return: L{mailagent.envelope.mailbox.Mailbox} values, at least one and each once, in a tuple;
            or a C{Deferred} of it.
        @raise NoSuchHost: not our domain.
        @raise NoSuchUser: our domain, nobody's name.
        """

    def mailboxes():  # type: ignore[no-untyped-def]
        """Every mailbox there is, each once, as an iterable."""


class StorageFull(Exception):
    """No room (or no inodes, or no quota) is left for the message now."""


class StorageFailed(Exception):
    """The message cannot be stored now; the text says why, for the log."""


class MailboxUnwritable(StorageFailed):
    """One mailbox cannot be written now (missing, read-only, not ours): C{mailbox} says which."""

    def __init__(self, mailbox: object, reason: str) -> None:
        super().__init__(reason)
        self.mailbox = mailbox


class IContentSink(Interface):
    """Takes a message's content as it arrives, in chunks."""

    def write(content):  # type: ignore[no-untyped-def]
        """Take the next octets of the content: dots unstuffed, line ends LF, chunk borders anywhere.

        @type content: C{bytes}
        @return: C{None}, or a C{Deferred} that fires (never fails) when the next chunk is welcome.
            The writer holds its sender back until then.
        """


class IStagedBody(IContentSink):
    """One message's content on its way to storage, shared by all recipients. Not yet durable."""

    size = Attribute("Octets written so far, as stored (line ends LF).")

    def discard():  # type: ignore[no-untyped-def]
        """Forget the content and free what holds it. Safe to call at any time, and again."""


class IMailstore(Interface):
    """Durable local delivery."""

    def stage(mailbox):  # type: ignore[no-untyped-def]
        """A new, empty L{IStagedBody}. C{mailbox} (the first recipient's) is where a large one may be kept."""

    def commit(message_id, copies, body):  # type: ignore[no-untyped-def]
        """Put a copy in every mailbox, durably, or in none.

        @type message_id: C{str}
        @param copies: at least one L{mailagent.maildir.copy.Copy}.
        @type body: L{IStagedBody}; it is discarded when this is done, either way.
        @return: a C{Deferred} of C{None}, fired once every copy is on stable storage and visible. It fails
            with L{StorageFull}, L{MailboxUnwritable} or L{StorageFailed}, and then nothing new is visible.
        """

    def probe(mailbox):  # type: ignore[no-untyped-def]
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
