"""Submission (RFC 6409): what somebody who has logged in may send, and what is added to it.

Who logs in gets a L{Submission} in place of the L{Reception} of strangers. It takes mail for all hosts, from addresses
that are the user's. The null reverse-path is anybody's: mail programs send
receipts with it (RFC 8098 section 2.1).
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDeliveryFactory
from zope.interface import implementer

from mailagent.config import user_key
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import Client, missing_fields
from mailagent.interfaces import IDirectory, ILogins, NoSuchHost, NoSuchUser
from mailagent.reception.header_scan import HeaderScan
from mailagent.reception.message import ContentSink
from mailagent.reception.recipient import resolved
from mailagent.reception.transaction import Reception, Transaction

_NOT_YOURS = Reply(550, "5.7.1", "Not one of your addresses")
_GONE = Reply(550, "5.7.1", "Your login is gone")
_ADDED = frozenset({b"date", b"message-id"})


@implementer(IRealm)
@attrs.frozen
class SubmissionRealm:
    """Gives everybody who has logged in a L{Submission}.

    @ivar own_addresses: whether users may send only as addresses that are theirs.
    """

    reception: Reception
    logins: ILogins
    own_addresses: bool = True

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:
        """See C{IRealm}."""
        if IMessageDeliveryFactory not in interfaces or not avatarId:
            raise NotImplementedError
        name = bytes(avatarId).decode()
        return IMessageDeliveryFactory, Submission(name, self), lambda: None


@implementer(IMessageDeliveryFactory)
@attrs.frozen
class Submission:
    """What one user may send; gives a fresh transaction to every MAIL."""

    name: str
    realm: SubmissionRealm

    def getMessageDelivery(self) -> SubmittedTransaction:
        """See C{IMessageDeliveryFactory}."""
        return SubmittedTransaction(self)

    async def refusal(self, sender: Address | None) -> Reply | None:
        """Why this user may not send as C{sender}, if so."""
        await self.realm.logins.refresh()
        addresses = self.realm.logins.addresses(self.name)
        if addresses is None:
            return _GONE
        if sender is None or not self.realm.own_addresses:
            return None
        directory = self.realm.reception.directory
        for owned in (*addresses, *_full_address(self.name)):
            if await _is_address(owned, sender, directory):
                return None
        return None if await _is_mailbox_of(self.name, sender, directory) else _NOT_YOURS


class SubmittedTransaction(Transaction):
    """A transaction of somebody who has logged in."""

    def __init__(self, submission: Submission) -> None:
        super().__init__(submission.realm.reception)
        self._submission = submission

    def validateFrom(self, helo: tuple[bytes | None, bytes], origin: smtp.Address) -> Any:
        """See C{IMessageDelivery}; fails with C{SMTPBadSender}, the reply in it."""
        super().validateFrom(helo, origin)
        return Deferred.fromCoroutine(self._validate_sender(origin))

    async def _validate_sender(self, origin: smtp.Address) -> smtp.Address:
        refusal = await self._submission.refusal(self._sender)
        if refusal is not None:
            raise smtp.SMTPBadSender(origin, refusal.code, f"{refusal.status} {refusal.text}")
        return origin

    def _may_relay(self, client: Client) -> bool:
        return True

    def _header_scan(self) -> HeaderScan:
        return HeaderScan(_ADDED)

    def _missing_fields(self, content: ContentSink) -> bytes:
        assert content.header is not None
        present = content.header.present
        return missing_fields(present, self._reception.hostname, self.id, self._reception.seconds())


def _bare(local: str) -> str:
    """A local part without its tag."""
    return local.partition("+")[0]


async def _is_address(owned: Address, sender: Address, directory: IDirectory) -> bool:
    """Whether a sender is an owned address; or that with a tag, unless mail for it goes elsewhere."""
    try:
        if sender.host != owned.host:
            return False
    except ValueError:
        return False
    if user_key(owned.local) == user_key(sender.local):
        return True
    if user_key(owned.local) != user_key(_bare(sender.local)):
        return False
    return await _places(sender, directory) == await _places(owned, directory)


def _full_address(name: str) -> list[Address]:
    """The address that a user's name is, if it is one."""
    local, at, host = name.rpartition("@")
    return [Address(local, host)] if at and local else []


async def _is_mailbox_of(name: str, sender: Address, directory: IDirectory) -> bool:
    """Whether mail for C{sender} goes to the mailbox of that name, by that name, and to no other."""
    if user_key(name) not in (user_key(sender.local), user_key(_bare(sender.local))):
        return False
    places = await _places(sender, directory)
    return bool(places) and all(
        isinstance(place, Mailbox) and user_key(place.owner.local) == user_key(name) for place in places
    )


async def _places(address: Address, directory: IDirectory) -> tuple[Mailbox | Address, ...]:
    """The mailboxes and the addresses elsewhere to which mail for an address goes; none where it is none of ours."""
    try:
        targets = await resolved(directory, address)
    except (NoSuchHost, NoSuchUser):
        return ()
    return tuple(target if isinstance(target, Mailbox) else target.address for target in targets)
