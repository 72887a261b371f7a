"""A mail transaction: who may send what to whom, and the commit that a C{250} stands for.

One L{Transaction} serves one message: a session asks L{Reception} for a fresh one at every MAIL. Several
recipients get one reply, so it is all or nothing: the copies of all recipients, in mailboxes and in the queue, are
durable before any C{eomReceived} fires, or none is visible and all of them fail. Only where each recipient has a reply
of its own (LMTP) does each have a commit of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NoReturn

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from zope.interface import implementer

from mailagent import log as events
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.message_id import message_id
from mailagent.envelope.notify import UNASKED, Notify
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import Client, header_for_text, received
from mailagent.interfaces import (
    IDirectory,
    IMailstore,
    IQueue,
    ISessionFacts,
    MailboxUnwritable,
    NoSuchHost,
    NoSuchUser,
)
from mailagent.reception.copies import copies
from mailagent.reception.dispatch import ComposeNotice, Dispatch, ids
from mailagent.reception.header_scan import HeaderScan
from mailagent.reception.message import ContentSink, RecipientMessage
from mailagent.reception.outgoing import Outgoing, is_loop
from mailagent.reception.part import NO_SUCH_USER, UNWRITABLE, MessageLoop, Part, fail, text_of
from mailagent.reception.recipient import Recipient, resolved
from mailagent.reception.relay_networks import RelayNetworks
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.parameters import MailParameters, RcptParameters
from mailagent.smtp.paths import address_of
from mailagent.smtp.replies import LOCAL_ERROR
from mailagent.smtp.settled import settled

_NO_RELAY = Reply(550, "5.7.1", "Not one of our domains; relaying denied")
_NO_DOMAIN = Reply(550, "5.1.2", "Not a domain to which mail can be sent")
_STORED = Reply(250, "2.1.5", "Stored")


@implementer(IMessageDeliveryFactory)
@attrs.frozen
class Reception:
    """What every transaction needs; gives a fresh L{Transaction} to every MAIL.

    @ivar hostname: this server's name, for the trace header.
    @ivar seconds: tells the time, in seconds since the epoch.
    @ivar entropy: gives a random integer of at least 30 bits.
    @ivar queue: where mail for elsewhere waits; without one there is no such mail.
    @ivar relay_networks: whose clients may send to any host.
    @ivar compose_notice: writes notices of success; without it, nobody is sent one.
    @ivar each_alone: every recipient has a reply and a commit of its own (RFC 2033).
    """

    directory: IDirectory
    mailstore: IMailstore
    hostname: str
    seconds: Callable[[], float]
    entropy: Callable[[], int]
    queue: IQueue | None = None
    relay_networks: RelayNetworks = attrs.field(factory=RelayNetworks)
    compose_notice: ComposeNotice | None = None
    each_alone: bool = False

    def getMessageDelivery(self) -> Transaction:
        """See C{IMessageDeliveryFactory}."""
        return Transaction(self)

    def new_message_id(self) -> str:
        """An identifier for one message, unique over processes and restarts."""
        return message_id(int(self.seconds() * 1_000_000), self.entropy())

    def for_lmtp(self) -> Reception:
        """The same for local clients that speak LMTP: one commit for each recipient, and no relaying."""
        return attrs.evolve(self, each_alone=True, relay_networks=RelayNetworks())


@implementer(IMessageDelivery)
class Transaction:
    """One message's envelope, then its content, then its commit.

    @ivar id: the identifier by which the message is followed, from MAIL on.
    @ivar given_header: the C{Received} field as handed to a stock session, C{b""} before.
    """

    _log = Logger()

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._begin("", None)

    def _begin(self, id_: str, sender: Address | None, parameters: MailParameters | None = None) -> None:
        self.id = id_
        self.given_header = b""
        self._sender = sender
        self._parameters = parameters or MailParameters()
        self._client = Client("")
        self._leaves = False
        self._home: Mailbox | None = None
        self._messages: list[RecipientMessage] = []
        self._complete: list[tuple[RecipientMessage, Deferred[str]]] = []
        self._content: ContentSink | None = None
        self._started = 0.0

    # IMessageDelivery

    def validateFrom(self, helo: tuple[bytes | None, bytes], origin: smtp.Address) -> smtp.Address:
        """Any sender may write to us. A stock session comes here again for every message it takes."""
        try:
            sender = address_of(origin)
        except SyntaxFault as fault:
            raise smtp.SMTPBadSender(origin, fault.reply.code, text_of(fault.reply)) from None
        self._begin(self._reception.new_message_id(), sender, getattr(origin, "parameters", None))
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
            self._refuse(user, "", NO_SUCH_USER)
        client = _client_of(user)
        accepted = await self._resolve(user, recipient, client)
        if accepted.leaves and self._reception.queue is None:
            self._refuse(user, str(recipient), _NO_RELAY if accepted.remote else LOCAL_ERROR)
        self._client = client
        self._leaves = self._leaves or accepted.leaves
        self._home = self._home or next(iter(accepted.mailboxes), None)
        events.RECIPIENT_ACCEPTED(self._log, id=self.id, recipient=str(recipient), sender=self._sender_text)
        return partial(self._open_message, accepted)

    async def _resolve(self, user: smtp.User, recipient: Address, client: Client) -> Recipient:
        notify = _notify(user)
        try:
            accepted = Recipient.of(recipient, await resolved(self._reception.directory, recipient), notify)
            for mailbox in accepted.mailboxes:
                probe = self._reception.mailstore.probe(mailbox)
                if probe is not None:
                    await probe
        except NoSuchUser:
            self._refuse(user, str(recipient), NO_SUCH_USER)
        except NoSuchHost:
            refusal = self._remote_refusal(recipient, client)
            if refusal is not None:
                self._refuse(user, str(recipient), refusal)
            return Recipient(recipient, notify=notify)
        except MailboxUnwritable:
            self._refuse(user, str(recipient), UNWRITABLE)
        except Exception as error:
            events.ERROR(self._log, what=f"{self.id} looking up <{recipient}>", reason=repr(error))
            self._refuse(user, str(recipient), LOCAL_ERROR)
        return accepted

    def _remote_refusal(self, recipient: Address, client: Client) -> Reply | None:
        """Why this client may not send to a recipient elsewhere, if so."""
        if not self._may_relay(client):
            return _NO_RELAY
        return None if recipient.domain else _NO_DOMAIN

    def _may_relay(self, client: Client) -> bool:
        return client in self._reception.relay_networks

    def _refuse(self, user: smtp.User, recipient: str, reply: Reply) -> NoReturn:
        events.RECIPIENT_REFUSED(self._log, id=self.id, recipient=recipient, sender=self._sender_text, reply=str(reply))
        raise smtp.SMTPBadRcpt(user, reply.code, text_of(reply))

    # The content

    def _open_message(self, recipient: Recipient) -> RecipientMessage:
        if self._content is None:
            self._started = self._reception.seconds()
            self._content = ContentSink(self._reception.mailstore.stage(self._home), self._header_scan())
        message = RecipientMessage(self, self._content, recipient, first=not self._messages)
        self._messages.append(message)
        return message

    def _header_scan(self) -> HeaderScan | None:
        """What looks at the header, where it matters."""
        return HeaderScan() if self._leaves else None

    def abandon(self) -> None:
        """Store nothing; safe to call again."""
        if self._content is not None:
            self._content.body.discard()
            self._content = None
            events.MESSAGE_ABANDONED(self._log, id=self.id, sender=self._sender_text, recipients=self._recipient_names)

    def message_complete(self, message: RecipientMessage) -> Deferred[str]:
        """One recipient's message is complete; when all are, commit.

        @return: that recipient's outcome.
        """
        outcome: Deferred[str] = Deferred()
        self._complete.append((message, outcome))
        if len(self._complete) == len(self._messages):
            self._commit()
        return outcome

    def _commit(self) -> None:
        content, self._content = self._content, None
        complete, self._complete = self._complete, []
        if content is None:
            fail([outcome for _, outcome in complete], LOCAL_ERROR)
            return
        numbers = ids(self.id)
        parts = []
        for together in [[each] for each in complete] if self._reception.each_alone else [complete]:
            recipients = [message.recipient for message, _ in together]
            # A stock session may begin the next message while this one is being stored: take down now what it is.
            part = Part(next(numbers), recipients, [outcome for _, outcome in together], self._sender_text)
            dispatched = maybeDeferred(self._dispatch, content, part, chain([part.id], numbers))
            parts.append((part, dispatched.addCallback(self._store, content, part)))
        started, size = self._started, content.body.size

        def settle(results: list[tuple[bool, Any]]) -> None:
            content.body.discard()
            seconds = self._reception.seconds() - started
            for (part, _), (success, result) in zip(parts, results, strict=True):
                part.succeeded(self._log, size, seconds) if success else part.failed(self._log, result)

        settled([stored for _, stored in parts]).addCallback(settle)

    def _store(self, dispatch: Dispatch, content: ContentSink, part: Part) -> Deferred[None]:
        return dispatch.commit(part.id, self._reception.mailstore, self._reception.queue, content.body)

    # What is written

    def _dispatch(self, content: ContentSink, part: Part, numbers: Iterator[str]) -> Dispatch:
        """What goes where for some of the recipients.

        @raise MessageLoop: it has been there before.
        """
        header = self._header(content)
        scan = content.header
        if scan is not None and any(is_loop(each.forwards, scan.delivered_to) for each in part.recipients):
            raise MessageLoop("Delivered-To has one of the aliases")
        envelope = Envelope(
            self._sender,
            (),
            size=content.body.size,
            eight_bit=content.eight_bit,
            utf8_header=self._parameters.utf8 and scan is not None and not scan.ascii,
            returned=self._parameters.returned,
            envelope_id=self._parameters.envelope_id,
            require_tls=self._parameters.require_tls,
        )
        queued = Outgoing(envelope, header, self._client.login).messages(part.recipients, numbers)
        return Dispatch(
            copies(self._sender, part.recipients, header), queued, self._notice(part.recipients, envelope, header)
        )

    def _notice(
        self, recipients: Sequence[Recipient], envelope: Envelope, header: bytes
    ) -> Callable[[bytes], tuple[QueuedMessage, bytes]] | None:
        """What composes the notice of success that the sender asked for, if so."""
        compose = self._reception.compose_notice
        told = [each for each in recipients if each.success and "SUCCESS" in each.notify.conditions]
        if compose is None or self._sender is None or not told:
            return None
        addresses = tuple(each.address for each in told)
        envelope = attrs.evolve(envelope, recipients=addresses, notify={each.address: each.notify for each in told})
        message = QueuedMessage(self.id, envelope, header, self._sender, self._client.login)
        return partial(compose, message, [Outcome(each.address, _STORED, notice=each.success) for each in told])

    def _header(self, content: ContentSink) -> bytes:
        """The fields that are put ahead of every copy."""
        if content.has_header:
            return self._received() + self._missing_fields(content)
        return self._received() + header_for_text(
            self._sender, self._recipients, self._reception.hostname, self.id, self._reception.seconds()
        )

    def _missing_fields(self, content: ContentSink) -> bytes:
        """Fields that the message ought to have, has not, and is given."""
        return b""

    def _received(self) -> bytes:
        return received(self._client, self._reception.hostname, self.id, self._recipients, self._reception.seconds())

    @property
    def _recipients(self) -> list[Address]:
        return [message.recipient.address for message in self._messages]

    @property
    def _sender_text(self) -> str:
        return str(self._sender or "")

    @property
    def _recipient_names(self) -> list[str]:
        return [str(recipient) for recipient in self._recipients]


def _notify(user: smtp.User) -> Notify:
    """What the sender wants to hear of a recipient; from a stock session, nothing is known of that."""
    parameters = getattr(user.dest, "parameters", None)
    return Notify(parameters.notify, parameters.original) if isinstance(parameters, RcptParameters) else UNASKED


def _client_of(user: smtp.User) -> Client:
    """The facts our session gives; from a stock one, those in HELO's tuple."""
    if ISessionFacts.providedBy(user.protocol):
        client: Client = user.protocol.client
        return client
    name, address = user.helo
    if isinstance(address, bytes):
        address = address.decode("ascii", "replace")
    return Client(address, (name or b"").decode("ascii", "replace"))
