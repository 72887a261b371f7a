"""One message's content on its way to storage, shared by all recipients.

The content is a file, as far as it has been written, and a tail in memory. The tail never reaches the file while
it fits in L{MEMORY_LIMIT}, so a small message has no file at all. The file has no name, lies in the C{tmp} of
the first recipient's mailbox, and is only ever touched in a thread, by one job at a time.

At most one full tail is being written while the next one fills; the sender is held back beyond that. When the memory
that all bodies share is exhausted, every octet goes to the file at once, and the sender waits until it is there.
When the disk fails, the error is kept for L{StagedBody.lend} and all content is dropped, with the space it took.
The descriptor is closed once no job runs and the content is no longer wanted, whichever is later.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent.budget import Budget
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import IStagedBody, StorageFailed
from mailagent.maildir.errors import trouble_in
from mailagent.maildir.files import FileLayer

#: Octets kept in memory at most before they go to the file; also the size of a read from it.
MEMORY_LIMIT = 256 * 1024
#: Octets that may be had without a thread, at most.
SMALL = 64 * 1024

#: Calls a function with arguments in a thread of a bounded pool; the C{Deferred} is the function's result.
RunInThread = Callable[..., Deferred[Any]]
_T = TypeVar("_T")


@attrs.frozen
class StagedContent:
    """All of a message's content: the first C{stored} octets in the file C{fd}, then C{tail}."""

    files: FileLayer
    fd: int | None
    stored: int
    tail: bytes

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of bounded size. Blocks, so for a thread; may be called again.

        @raise OSError: the file cannot be read, or is shorter than what was written to it.
        """
        offset = 0
        while self.fd is not None and offset < self.stored:
            chunk = self.files.read_at(self.fd, min(MEMORY_LIMIT, self.stored - offset), offset)
            if not chunk:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            offset += len(chunk)
            yield chunk
        yield self.tail


@implementer(IStagedBody)
@attrs.define(eq=False)
class StagedBody:
    """See the module. Its methods belong to the reactor's thread."""

    _files: FileLayer
    _mailbox: Mailbox
    _run_in_thread: RunInThread
    _budget: Budget = attrs.field(factory=Budget)
    size: int = attrs.field(default=0, init=False)
    _tail: bytearray = attrs.field(factory=bytearray, init=False)
    _fd: int | None = attrs.field(default=None, init=False)
    _stored: int = attrs.field(default=0, init=False)
    _in_job: int = attrs.field(default=0, init=False)
    _counted: int = attrs.field(default=0, init=False)
    _busy: bool = attrs.field(default=False, init=False)
    _discarded: bool = attrs.field(default=False, init=False)
    _error: BaseException | None = attrs.field(default=None, init=False)
    _welcomes: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _turns: list[Deferred[None]] = attrs.field(factory=list, init=False)

    def write(self, content: bytes) -> Deferred[None] | None:
        """Take the next octets; see L{mailagent.interfaces.IContentSink}."""
        self.size += len(content)
        if self._discarded or self._error is not None:
            return None
        self._tail += content
        self._count()
        if not self._is_full:
            return None
        if not self._busy:
            self._spill()
            if not (self._busy and self._budget.exhausted):
                return None
        welcome: Deferred[None] = Deferred()
        self._welcomes.append(welcome)
        return welcome

    def lend(self, job: Callable[[StagedContent], Deferred[_T]]) -> Deferred[_T]:
        """Call C{job} with all the content, which stays readable until its C{Deferred} fires.

        The C{Deferred} fails with what staging met: L{StorageFailed}, L{mailagent.interfaces.StorageFull} or
        L{mailagent.interfaces.MailboxUnwritable}; or with L{StorageFailed} when the content was discarded.
        """
        if not self._busy and not self._turns:
            return maybeDeferred(self._start, job)
        turn: Deferred[None] = Deferred()
        reading = turn.addCallback(lambda _: self._start(job))
        self._turns.append(turn)
        self._take_turns()
        return reading

    def at_hand(self) -> bytes | None:
        """The content, if it is small; see L{IStagedBody}."""
        elsewhere = self._busy or self._discarded or self._error is not None or self._fd is not None
        return None if elsewhere or len(self._tail) > SMALL else bytes(self._tail)

    def discard(self) -> None:
        """Forget the content; see L{IStagedBody}. A job that is reading it may finish."""
        self._discarded = True
        self._drop()
        self._release_sender()

    @property
    def _is_full(self) -> bool:
        """Whether the tail is more than may stay in memory now."""
        return len(self._tail) > (0 if self._budget.exhausted else MEMORY_LIMIT)

    def _count(self) -> None:
        """Tell the budget how much we hold: the tail, and what the job that runs was given."""
        held = len(self._tail) + self._in_job
        self._budget.change(held - self._counted)
        self._counted = held

    def _spill(self) -> None:
        content, self._tail = self._tail, bytearray()
        self._busy, self._in_job = True, len(content)
        written = self._run_in_thread(self._append, content)
        written.addErrback(self._remember)
        written.addBoth(self._done)

    def _append(self, content: bytearray) -> None:
        """In a thread. No other job runs now, so the attributes of the file are ours to set."""
        with trouble_in(self._mailbox):
            if self._fd is None:
                self._fd = self._files.open_anonymous(os.path.join(self._mailbox.path, "tmp"))
            self._files.write(self._fd, content)
            self._stored += len(content)

    def _start(self, job: Callable[[StagedContent], Deferred[_T]]) -> Deferred[_T]:
        if self._discarded:
            raise StorageFailed("the content was discarded")
        if self._error is not None:
            raise self._error
        self._busy, self._in_job = True, len(self._tail)  # a copy
        self._count()
        content = StagedContent(self._files, self._fd, self._stored, bytes(self._tail))
        return job(content).addBoth(self._done)

    def _remember(self, failure: Failure) -> None:
        self._error = failure.value

    def _done(self, result: _T) -> _T:
        """A job has ended: what waited for it goes on."""
        self._busy, self._in_job = False, 0
        self._count()
        if self._discarded or self._error is not None:
            self._drop()
        elif self._is_full:
            self._spill()
        self._release_sender()
        self._take_turns()
        return result

    def _take_turns(self) -> None:
        while self._turns and not self._busy:
            self._turns.pop(0).callback(None)

    def _release_sender(self) -> None:
        welcomes, self._welcomes = self._welcomes, []
        for welcome in welcomes:
            welcome.callback(None)

    def _drop(self) -> None:
        self._tail = bytearray()
        self._count()
        if self._busy or self._fd is None:
            return
        fd, self._fd = self._fd, None
        # An error on closing a file nobody wants any more changes nothing.
        self._run_in_thread(self._files.close, fd).addErrback(lambda _: None)
