"""The contracts between rooms. What an implementation promises stands here; how it keeps it, there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

import attrs
from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageSMTP
from zope.interface import Attribute, Interface

from mailagent.envelope.address import Address
from mailagent.envelope.copy import Copy
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.forward import Forward
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.queued import QueuedMessage


class NoSuchHost(LookupError):
    """The domain is none of ours: to take its mail would be to relay."""


class NoSuchUser(LookupError):
    """The domain is ours, and nobody of that name receives mail there."""


class IDirectory(Interface):
    """Who receives mail here, and where."""

    def resolve(recipient: Address) -> tuple[Mailbox | Forward, ...] | Deferred[tuple[Mailbox | Forward, ...]]:
        """Where a recipient's mail goes, aliases expanded: mailboxes, and addresses elsewhere.

        @return: at least one and each once, in a tuple;
            or a C{Deferred} of it.
        @raise NoSuchHost: not our domain.
        @raise NoSuchUser: our domain, nobody's name.
        @raise StorageFailed: it cannot be told now (L{DirectoryUnknown}: nor of any other recipient).
        """

    def mailboxes() -> Iterable[Mailbox]:
        """Every mailbox there is, each once, as an iterable."""


class StorageFull(Exception):
    """No room (or no inodes, or no quota) is left for the message now."""


class StorageFailed(Exception):
    """The message cannot be stored now; the text says why, for the log."""


class DirectoryUnknown(StorageFailed):
    """Of nobody at all can be told now whether the mail is ours."""


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

    def at_hand() -> bytes | None:
        """All of the content, where it is small and in memory; C{None} where a thread is needed to get it."""

    def discard() -> None:
        """Forget the content and free what holds it. Safe to call at any time, and again."""


#: Gives the content in pieces of bounded size, from the start each time it is called; blocks, raises C{OSError}.
Chunks = Callable[[], Iterator[bytes]]


class IMailstore(Interface):
    """Durable local delivery."""

    def stage(mailbox: Mailbox | None) -> IStagedBody:
        """A new, empty L{IStagedBody}. C{mailbox} (the first recipient's; C{None} where none is local) is where a
        large one may be kept."""

    def commit(
        message_id: str, copies: Sequence[Copy], body: IStagedBody, last: Callable[[Chunks], None] | None = None
    ) -> Deferred[None]:
        """Put a copy in every mailbox, durably, or in none.

        @param copies: L{Copy}s; none, where C{last} does it all.
        @param body: stays the caller's, to commit again or to discard.
        @param last: called in a thread with the content, once all copies are durable. If it raises, they are removed
            again, and this fails with what it raised: so another store's commit can be the last word.
        @return: a C{Deferred} of C{None}, fired once every copy is on stable storage and visible. It fails
            with L{StorageFull}, L{MailboxUnwritable} or L{StorageFailed}, and then nothing new is visible.
        """

    def probe(mailbox: Mailbox) -> Deferred[None] | None:
        """C{None} while the mailbox is not known to be unwritable; else a C{Deferred} of C{None} that fails
        with L{MailboxUnwritable} if it still is, after a look in a thread."""


class IQueue(Interface):
    """The durable queue, for those who put messages there."""

    def enqueue(messages: Sequence[QueuedMessage], content: Chunks) -> None:
        """Take all of these messages, durably, or none. They share C{content}, but for those that have a C{body} of
        their own. Blocks, so for a thread.

        @raise StorageFull: no room for them now.
        @raise StorageFailed: the database cannot take them now.
        """

    def enqueue_small(messages: Sequence[QueuedMessage], content: bytes) -> Deferred[None]:
        """The same of a content that is small, from the reactor's thread and without another.

        @return: a C{Deferred} of C{None}, fired once they are durable; it fails with what L{enqueue} raises.
        """


@attrs.frozen
class Attempt:
    """One message to be delivered to some of its recipients, all at one destination, now.

    @ivar message_id: see L{QueuedMessage}.
    @ivar envelope: C{recipients} are those of this attempt alone, at most 100.
    @ivar destination: the recipients' domain in canonical form (see L{mailagent.envelope.address.canonical_domain}).
    @ivar login: see L{QueuedMessage}.
    @ivar content: gives the header and content in pieces of bounded size, line ends LF, from the start each time.
    @ivar still_ours: asked before the content is sent: whether nobody else has taken the message up meanwhile.
    @ivar urgent: the operator wants the destination tried, whatever has been found out about it before.
    """

    message_id: str
    envelope: Envelope
    destination: str
    login: str
    content: Callable[[], AsyncIterator[bytes]]
    still_ours: Callable[[], Deferred[bool]]
    urgent: bool = False


@attrs.frozen
class Attempted:
    """What came of an L{Attempt}.

    @ivar outcomes: one L{Outcome} for each recipient, in their order.
    @ivar hold: seconds for which nothing should be tried at the destination at all; 0 where others may go on.
    """

    outcomes: tuple[Outcome, ...]
    hold: float = 0.0


class DestinationBusy(Exception):
    """Nothing was tried: the destination is held, or has as much from us as it may. Come again in C{seconds}."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"busy, again in {seconds:g} s")
        self.seconds = seconds


class LeaseLost(Exception):
    """Nothing was delivered: C{still_ours} said no. There are no outcomes to be written."""


class ICourier(Interface):
    """Takes messages to where they belong. All that the queue knows of the world."""

    def deliver(attempt: Attempt) -> Deferred[Attempted]:
        """Try to deliver one message, now.

        @return: fires with L{Attempted}; may fail with L{DestinationBusy} or L{LeaseLost}. Any other failure is a
            defect, and the queue defers the recipients for it. May be cancelled, at a stop.
        """


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
