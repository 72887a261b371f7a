"""What users of this machine may send, over the local socket: as whoever they like, to wherever mail can go.

A program run by cron or a web server has no password and no address of its own. Who sent is told all the same, in the
trace field: the system names the user at the other end of a local socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDeliveryFactory
from zope.interface import implementer

from mailagent.envelope.address import Address
from mailagent.envelope.trace import received_from_user
from mailagent.interfaces import ILogins
from mailagent.reception.message import RecipientMessage
from mailagent.reception.submission import Submission, SubmissionRealm, SubmittedTransaction
from mailagent.reception.transaction import Reception


@implementer(ILogins)
class _Everybody:
    """Each user of the machine may send."""

    def refresh(self) -> Deferred[None]:
        """See L{ILogins.refresh}."""
        return succeed(None)

    def addresses(self, name: str) -> tuple[Address, ...]:
        """See L{ILogins.addresses}."""
        return ()


@implementer(IMessageDeliveryFactory)
@attrs.frozen
class LocalSubmission(Submission):
    """Gives a fresh transaction to every MAIL of a session on the local socket.

    @ivar user_name: a user's name from the number; in a thread, as it may ask another machine. It does not fail.
    """

    user_name: Callable[[int], Deferred[str]]

    @classmethod
    def of(cls, reception: Reception, user_name: Callable[[int], Deferred[str]]) -> LocalSubmission:
        """What the local socket is served with."""
        return cls("", SubmissionRealm(reception, _Everybody(), own_addresses=False), user_name)

    def getMessageDelivery(self) -> LocalTransaction:
        """See C{IMessageDeliveryFactory}."""
        return LocalTransaction(self)


class LocalTransaction(SubmittedTransaction):
    """A transaction of a user of this machine."""

    _user = ""

    def __init__(self, submission: LocalSubmission) -> None:
        super().__init__(submission)
        self._user_name = submission.user_name

    async def _validate(self, user: smtp.User) -> Callable[[], RecipientMessage]:
        number = user.protocol.client.user_id
        self._user = self._user or await self._user_name(number)
        message = await super()._validate(user)
        self._client = attrs.evolve(self._client, login=self._user)
        return message

    def _received(self) -> bytes:
        recipients: Sequence[Address] = self._recipients
        number = self._client.user_id
        assert number is not None
        reception = self._reception
        return received_from_user(self._user, number, reception.hostname, self.id, recipients, reception.seconds())
