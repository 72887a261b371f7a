"""Mail from the queue for recipients who are ours: reports to our users, and what was forwarded and came back.

Whether a name is ours is asked of the directory at the attempt (L{LocalFirst}). Each recipient has a commit of its own,
so that one mailbox in trouble keeps the message from nobody else. What an alias forwards goes back to the queue, as a
message of its own, in that same commit.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.envelope.address import Address
from mailagent.envelope.forward import Forward
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply
from mailagent.interfaces import (
    Attempt,
    Attempted,
    DestinationBusy,
    DirectoryUnknown,
    ICourier,
    IDirectory,
    IMailstore,
    IQueue,
    LeaseLost,
    MailboxUnwritable,
    NoSuchHost,
    NoSuchUser,
    StorageFailed,
    StorageFull,
)
from mailagent.reception.copies import copies
from mailagent.reception.dispatch import Dispatch, ids
from mailagent.reception.header_scan import HeaderScan
from mailagent.reception.message import ContentSink
from mailagent.reception.outgoing import Outgoing, is_loop
from mailagent.reception.part import LOOP, NO_SUCH_USER, reply_to
from mailagent.reception.recipient import Recipient, resolved
from mailagent.smtp.replies import LOCAL_ERROR

_NOT_OURS = Reply(451, "4.3.5", "None of our domains any more, try again later")
#: Seconds until the next look whether anything is known of a recipient.
_UNKNOWN = 30.0
_LEASE_LOST = "somebody else has taken the message up"


@implementer(ICourier)
@attrs.frozen
class LocalCourier:
    """Delivers to mailboxes.

    @ivar new_message_id: gives an identifier that nothing else has, for each commit: an attempt may come again.
    """

    _directory: IDirectory
    _mailstore: IMailstore
    _queue: IQueue
    _new_message_id: Callable[[], str]
    _log: Logger = attrs.field(factory=lambda: Logger("mailagent.reception"))

    def deliver(self, attempt: Attempt) -> Deferred[Attempted]:
        """See L{ICourier}."""
        return Deferred.fromCoroutine(self._deliver(attempt))

    async def _deliver(self, attempt: Attempt) -> Attempted:
        found = {address: await self._resolve(attempt, address) for address in attempt.envelope.recipients}
        outcomes = {address: Outcome(address, each) for address, each in found.items() if isinstance(each, Reply)}
        accepted = [each for each in found.values() if isinstance(each, Recipient)]
        if accepted:
            outcomes |= {outcome.recipient: outcome for outcome in await self._store(attempt, accepted)}
        return Attempted(tuple(outcomes[address] for address in attempt.envelope.recipients))

    async def _resolve(self, attempt: Attempt, address: Address) -> Recipient | Reply:
        try:
            targets = await resolved(self._directory, address)
        except NoSuchUser:
            return NO_SUCH_USER
        except NoSuchHost:
            return _NOT_OURS
        except StorageFailed:
            return LOCAL_ERROR
        return Recipient.of(address, targets, attempt.envelope.wishes(address))

    async def _store(self, attempt: Attempt, recipients: list[Recipient]) -> list[Outcome]:
        mailboxes = (mailbox for each in recipients for mailbox in each.mailboxes)
        content = ContentSink(self._mailstore.stage(next(mailboxes, None)), HeaderScan())
        try:
            async for piece in attempt.content():
                wait = content.write(piece)
                if wait is not None:
                    await wait
            if not await attempt.still_ours():
                raise LeaseLost(_LEASE_LOST)
            return [await self._commit(attempt, each, content) for each in recipients]
        finally:
            content.body.discard()

    async def _commit(self, attempt: Attempt, recipient: Recipient, content: ContentSink) -> Outcome:
        assert content.header is not None
        address = recipient.address
        if is_loop(recipient.forwards, content.header.delivered_to):
            return Outcome(address, LOOP)
        id_ = self._new_message_id()
        envelope = attrs.evolve(attempt.envelope, size=content.body.size)
        queued = Outgoing(envelope, b"", attempt.login).messages([recipient], ids(id_))
        dispatch = Dispatch(copies(envelope.reverse_path, [recipient], b""), queued)
        try:
            await dispatch.commit(id_, self._mailstore, self._queue, content.body)
        except (StorageFull, StorageFailed) as error:  # MailboxUnwritable has been told
            if not isinstance(error, MailboxUnwritable):
                events.ERROR(self._log, what=f"{attempt.message_id} for <{address}>", reason=str(error) or repr(error))
            return Outcome(address, reply_to(Failure()))
        except Exception as error:
            events.ERROR(self._log, what=f"{attempt.message_id} for <{address}>", reason=repr(error))
            return Outcome(address, LOCAL_ERROR)
        return Outcome(address, Reply(250, "2.1.5", f"Stored as {id_}"), notice=recipient.success)


@implementer(ICourier)
@attrs.frozen
class LocalFirst:
    """Gives what is ours by now to C{local}, and all else to C{remote}. An attempt's recipients have one domain.

    Users whom the directory hands over to another server, at their own address, are C{remote}'s. While nothing is known
    of anybody nothing is tried: mail for elsewhere would be none of C{local}'s, and ours none of C{remote}'s.
    """

    _directory: IDirectory
    _local: ICourier
    _remote: ICourier

    def deliver(self, attempt: Attempt) -> Deferred[Attempted]:
        """See L{ICourier}."""
        return Deferred.fromCoroutine(self._deliver(attempt))

    async def _deliver(self, attempt: Attempt) -> Attempted:
        ours = [await self._is_ours(recipient) for recipient in attempt.envelope.recipients]
        return await (self._local if any(ours) else self._remote).deliver(attempt)

    async def _is_ours(self, address: Address) -> bool:
        try:
            targets = await resolved(self._directory, address)
        except NoSuchHost:
            return False
        except DirectoryUnknown:
            raise DestinationBusy(_UNKNOWN) from None
        except (NoSuchUser, StorageFailed):
            return True
        return not any(isinstance(target, Forward) and target.address == address for target in targets)
