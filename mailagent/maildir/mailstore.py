"""The mailstore of local Maildirs: stage, commit, and which mailboxes are known to be unwritable.

Small messages are committed together (L{mailagent.maildir.group_commit}). One that is long to write, or must wait for
another store, is a job of its own, so that the others need not wait for it; of those that wait for another store there
are only so many, so that one that hangs does not take all threads. A mailbox that cannot be written fails its
commit, is logged once, and is refused at RCPT from then on (L{Maildirs.probe}) until a look, or a commit,
finds it well again. A mailbox that vanished is never made anew while we run: it may be a volume that is not mounted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent.budget import Budget
from mailagent.envelope.address import Address
from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import Chunks, IMailstore, IStagedBody, MailboxUnwritable
from mailagent.log import MAILBOX_RECOVERED, MAILBOX_UNWRITABLE
from mailagent.maildir.files import FileLayer
from mailagent.maildir.group_commit import GroupCommit, Lane
from mailagent.maildir.layout import check
from mailagent.maildir.publishing import Entry, Publication, Spread, in_turn, publish
from mailagent.maildir.staging import RunInThread, StagedBody, StagedContent

#: Messages that wait for another store at the same time: each has a thread meanwhile, and there are more of these.
ELSEWHERE_LIMIT = 4
#: A file name has at most 255 octets, and a mail reader adds its flags.
_HOST_LIMIT = 128


def _host_part(hostname: str) -> str:
    """The host as it may stand in a Maildir file name, where C{/} and C{:} have a meaning of their own."""
    return hostname.replace("/", "\\057").replace(":", "\\072")[:_HOST_LIMIT]


@implementer(IMailstore)
@attrs.define(eq=False)
class Maildirs:
    """See the module; L{mailagent.interfaces.IMailstore} has the contract.

    @ivar files: the file layer.
    @ivar run_in_thread: calls a function with arguments in a bounded pool of threads; a C{Deferred} of its result.
    @ivar hostname: this host, for file names.
    @ivar seconds: the time, in seconds since the epoch.
    @ivar budget: the memory that bodies share.
    @ivar spread: how the copies of one message are written at the same time.
    @ivar lanes: the threads of the batches, C{run_in_thread}'s by default.
    @ivar call_later: see L{GroupCommit}.
    @ivar spool: where the content is kept of messages without a mailbox; its C{tmp} is all that is used of it.
    """

    _files: FileLayer
    _run_in_thread: RunInThread
    _hostname: str = attrs.field(converter=_host_part)
    _seconds: Callable[[], float]
    _log: Logger = attrs.field(factory=lambda: Logger("mailagent.maildir"))
    _budget: Budget = attrs.field(factory=Budget)
    _spool: Mailbox = attrs.field(factory=lambda: Mailbox(Address("spool", ""), "spool"))
    _spread: Spread = in_turn
    _lanes: Sequence[Lane] = attrs.field(
        default=attrs.Factory(lambda self: (Lane(self._run_in_thread, self._spread),), takes_self=True)
    )
    _call_later: Callable[..., object] | None = None
    _group: GroupCommit = attrs.field(
        default=attrs.Factory(lambda self: GroupCommit(self._files, self._lanes, self._call_later), takes_self=True),
        init=False,
    )
    _elsewhere: DeferredSemaphore = attrs.field(factory=lambda: DeferredSemaphore(ELSEWHERE_LIMIT), init=False)
    _unwritable: set[Mailbox] = attrs.field(factory=set, init=False)

    def stage(self, mailbox: Mailbox | None) -> StagedBody:
        """A new, empty body, kept with C{mailbox}, else in the spool, when it grows large."""
        return StagedBody(self._files, mailbox or self._spool, self._run_in_thread, self._budget)

    def commit(
        self,
        message_id: str,
        copies: Sequence[Copy],
        body: IStagedBody,
        last: Callable[[Chunks], None] | None = None,
    ) -> Deferred[None]:
        """Put a copy in every mailbox, durably, or in none. C{body} is one of L{stage}'s."""
        assert isinstance(body, StagedBody)
        prefix = f"{int(self._seconds())}.{message_id}"
        entries = [Entry(copy, f"{prefix}_{index}.{self._hostname}") for index, copy in enumerate(copies)]
        committed = body.lend(partial(self._commit, entries, last))
        return committed.addCallbacks(self._succeeded, self._failed, callbackArgs=(copies,))

    def _commit(
        self, entries: Sequence[Entry], last: Callable[[Chunks], None] | None, content: StagedContent
    ) -> Deferred[None]:
        message = Publication(self._files, entries, content, last)
        if last is not None:
            return self._elsewhere.run(self._alone, message)
        return self._group.commit(message) if content.fd is None else self._alone(message)

    def _alone(self, message: Publication) -> Deferred[None]:
        published = self._run_in_thread(publish, self._files, [message], self._spread)
        return published.addCallback(lambda _: message.check())

    def probe(self, mailbox: Mailbox) -> Deferred[None] | None:
        """Whether a mailbox takes mail, as far as we know; a look in a thread if it did not when last tried."""
        if not self._unwritable or mailbox not in self._unwritable:
            return None
        looked = self._run_in_thread(check, self._files, mailbox)
        return looked.addCallback(lambda writable: self._recovered(mailbox) if writable else None)

    def _succeeded(self, _: None, copies: Sequence[Copy]) -> None:
        if self._unwritable:
            for copy in copies:
                self._recovered(copy.mailbox)

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, MailboxUnwritable):
            mailbox = error.mailbox
            if mailbox not in self._unwritable:
                self._unwritable.add(mailbox)
                MAILBOX_UNWRITABLE(self._log, mailbox=mailbox.path, reason=str(error))
        return failure

    def _recovered(self, mailbox: Mailbox) -> None:
        if mailbox in self._unwritable:
            self._unwritable.remove(mailbox)
            MAILBOX_RECOVERED(self._log, mailbox=mailbox.path)
