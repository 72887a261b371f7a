"""A mail transaction: who may send what to whom, and the commit that a C{250} stands for.

One L{Transaction} serves one message: a session asks L{Reception} for a fresh one at every MAIL. Several
recipients get one reply, so it is all or nothing: the copies of all recipients are durable before any
C{eomReceived} fires, or none is visible and all of them fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.config import user_key
from mailagent.envelope.address import Address
from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.message_id import message_id
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import Client, delivery_fields, header_for_text, received
from mailagent.interfaces import (
    IDirectory,
    IMailstore,
    ISessionFacts,
    IStagedBody,
    MailboxUnwritable,
    NoSuchHost,
    NoSuchUser,
    StorageFull,
)
from mailagent.reception.message import ContentSink, RecipientMessage
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.paths import address_of
from mailagent.smtp.replies import LOCAL_ERROR

_NO_SUCH_USER = Reply(550, "5.1.1", "No such user here")
_NO_RELAY = Reply(550, "5.7.1", "Not one of our domains; relaying denied")
_UNWRITABLE = Reply(451, "4.2.0", "Mailbox not available now, try again later")
_FULL = Reply(452, "4.3.1", "No space for the message now, try again later")


@implementer(IMessageDeliveryFactory)
@attrs.frozen
class Reception:
    """What every transaction needs; gives a fresh L{Transaction} to every MAIL.

    @ivar hostname: this server's name, for the trace header.
    @ivar seconds: tells the time, in seconds since the epoch.
    @ivar entropy: gives a random integer of at least 30 bits.
    """

    directory: IDirectory
    mailstore: IMailstore
    hostname: str
    seconds: Callable[[], float]
    entropy: Callable[[], int]

    def getMessageDelivery(self) -> Transaction:
        """See C{IMessageDeliveryFactory}."""
        return Transaction(self)

    def new_message_id(self) -> str:
        """An identifier for one message, unique over processes and restarts."""
        return message_id(int(self.seconds() * 1_000_000), self.entropy())


@implementer(IMessageDelivery)
class Transaction:
    """One message's envelope, then its content, then its commit.

    @ivar id: the identifier by which the message is followed.
    @ivar given_header: the C{Received} field as handed to a stock session, C{b""} before.
    """

    _log = Logger()
    _no_relay = _NO_RELAY

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._begin(None)

    def _begin(self, sender: Address | None) -> None:
        self.id = self._reception.new_message_id()
        self.given_header = b""
        self._sender = sender
        self._client = Client("")
        self._messages: list[RecipientMessage] = []
        self._complete: list[Deferred[str]] = []
        self._content: ContentSink | None = None
        self._started = 0.0

    # IMessageDelivery

    def validateFrom(self, helo: tuple[bytes | None, bytes], origin: smtp.Address) -> smtp.Address:
        """Any sender may write to us. A stock session comes here again for every message it takes."""
        try:
            self._begin(address_of(origin))
        except SyntaxFault as fault:
            raise smtp.SMTPBadSender(origin, fault.reply.code, _text(fault.reply)) from None
        return origin

    def validateTo(self, user: smtp.User) -> Deferred[Callable[[], RecipientMessage]]:
        """Ask the directory.

        @return: fails with C{SMTPBadRcpt}, the reply in it.
        """
        return Deferred.fromCoroutine(self._validate(user))

    def receivedHeader(
        self, helo: tuple[bytes | None, bytes], origin: smtp.Address, recipients: Sequence[smtp.User]
    ) -> bytes:
        """The trace header, for a session that feeds it back by C{lineReceived}; line ends LF, the last one off."""
        self.given_header = self._received().rstrip(b"\n")
        return self.given_header

    async def _validate(self, user: smtp.User) -> Callable[[], RecipientMessage]:
        try:
            recipient = address_of(user.dest)
        except SyntaxFault as fault:
            self._refuse(user, str(user), fault.reply)
        if recipient is None:
            self._refuse(user, "", _NO_SUCH_USER)
        mailboxes = await self._resolve(user, recipient)
        self._client = _client_of(user)
        events.RECIPIENT_ACCEPTED(self._log, id=self.id, recipient=str(recipient), sender=self._sender_text)
        return lambda: self._open_message(recipient, mailboxes)

    async def _resolve(self, user: smtp.User, recipient: Address) -> tuple[Mailbox, ...]:
        try:
            found = self._reception.directory.resolve(recipient)
            targets = await found if isinstance(found, Deferred) else found
            mailboxes = tuple(target for target in targets if isinstance(target, Mailbox))
            for mailbox in mailboxes:
                probe = self._reception.mailstore.probe(mailbox)
                if probe is not None:
                    await probe
        except NoSuchUser:
            self._refuse(user, str(recipient), _NO_SUCH_USER)
        except NoSuchHost:
            self._refuse(user, str(recipient), self._no_relay)
        except MailboxUnwritable:
            self._refuse(user, str(recipient), _UNWRITABLE)
        except Exception as error:
            events.ERROR(self._log, what=f"{self.id} looking up <{recipient}>", reason=repr(error))
            self._refuse(user, str(recipient), LOCAL_ERROR)
        return mailboxes

    def _refuse(self, user: smtp.User, recipient: str, reply: Reply) -> NoReturn:
        events.RECIPIENT_REFUSED(self._log, id=self.id, recipient=recipient, sender=self._sender_text, reply=str(reply))
        raise smtp.SMTPBadRcpt(user, reply.code, _text(reply))

    # The content

    def _open_message(self, recipient: Address, mailboxes: tuple[Mailbox, ...]) -> RecipientMessage:
        if self._content is None:
            self._started = self._reception.seconds()
            self._content = self._make_content(self._reception.mailstore.stage(mailboxes[0]))
        message = RecipientMessage(self, self._content, recipient, mailboxes, first=not self._messages)
        self._messages.append(message)
        return message

    def _make_content(self, body: IStagedBody) -> ContentSink:
        return ContentSink(body)

    def abandon(self) -> None:
        """Store nothing; safe to call again."""
        if self._content is not None:
            self._content.body.discard()
            self._content = None
            events.MESSAGE_ABANDONED(self._log, id=self.id, sender=self._sender_text, recipients=self._recipient_names)

    def message_complete(self) -> Deferred[str]:
        """One recipient's message is complete; when all are, commit.

        @return: that recipient's outcome.
        """
        outcome: Deferred[str] = Deferred()
        self._complete.append(outcome)
        if len(self._complete) == len(self._messages):
            self._commit()
        return outcome

    def _commit(self) -> None:
        content, self._content = self._content, None
        outcomes, self._complete = self._complete, []
        if content is None:
            _fail(outcomes, LOCAL_ERROR)
            return
        # A stock session may begin the next message while this one is being stored: take down now what it is.
        facts = {"id": self.id, "sender": self._sender_text, "recipients": self._recipient_names}
        started, size = self._started, content.body.size

        def stored(_: None) -> None:
            content.body.discard()
            events.MESSAGE_STORED(self._log, **facts, size=size, seconds=self._reception.seconds() - started)
            for outcome in outcomes:
                outcome.callback(f"Stored as {facts['id']}")

        def failed(why: Failure) -> None:
            content.body.discard()
            events.MESSAGE_FAILED(self._log, **facts, reason=str(why.value) or repr(why.value))
            _fail(outcomes, _reply_to(why))

        maybeDeferred(self._store, content).addCallbacks(stored, failed)

    def _store(self, content: ContentSink) -> Deferred[None]:
        return self._reception.mailstore.commit(self.id, self._copies(content), content.body)

    # What is written ahead of it

    def _copies(self, content: ContentSink) -> list[Copy]:
        """A copy for every recipient; who is reached by an alias of several as well gets no second one."""
        common = self._received()
        if content.has_header:
            common += self._missing_fields(content)
        else:
            common += header_for_text(
                self._sender, self._recipients, self._reception.hostname, self.id, self._reception.seconds()
            )
        originals: dict[tuple[Mailbox, str], Address] = {}
        for message in self._messages:
            if len(message.mailboxes) == 1:
                recipient = message.recipient
                key = f"{user_key(recipient.local)}@{recipient.host}"
                originals.setdefault((message.mailboxes[0], key), recipient)
        reached = {mailbox for mailbox, _ in originals}
        for message in self._messages:
            for mailbox in message.mailboxes:
                if mailbox not in reached:
                    reached.add(mailbox)
                    originals[mailbox, ""] = message.recipient
        return [
            Copy(mailbox, delivery_fields(self._sender, mailbox.owner, original) + common)
            for (mailbox, _), original in originals.items()
        ]

    def _missing_fields(self, content: ContentSink) -> bytes:
        """Fields that the message ought to have, has not, and is given."""
        return b""

    def _received(self) -> bytes:
        return received(self._client, self._reception.hostname, self.id, self._recipients, self._reception.seconds())

    @property
    def _recipients(self) -> list[Address]:
        return [message.recipient for message in self._messages]

    @property
    def _sender_text(self) -> str:
        return str(self._sender or "")

    @property
    def _recipient_names(self) -> list[str]:
        return [str(recipient) for recipient in self._recipients]


def _text(reply: Reply) -> str:
    return f"{reply.status} {reply.text}"


def _reply_to(why: Failure) -> Reply:
    """What a commit that failed is answered with: always 4yz, it is our trouble."""
    if why.check(StorageFull):
        return _FULL
    return _UNWRITABLE if why.check(MailboxUnwritable) else LOCAL_ERROR


def _fail(outcomes: list[Deferred[str]], reply: Reply) -> None:
    for outcome in outcomes:
        outcome.errback(smtp.SMTPServerError(reply.code, _text(reply)))


def _client_of(user: smtp.User) -> Client:
    """The facts our session gives; from a stock one, those in HELO's tuple."""
    if ISessionFacts.providedBy(user.protocol):
        client: Client = user.protocol.client
        return client
    name, address = user.helo
    if isinstance(address, bytes):
        address = address.decode("ascii", "replace")
    return Client(address, (name or b"").decode("ascii", "replace"))
