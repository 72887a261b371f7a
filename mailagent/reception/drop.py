"""Taking messages up that C{sendmail} has left in the drop, where every user of the machine may put files.

A message is queued for all its recipients, and the file then removed: after a crash between the two it is queued twice,
never lost. One that cannot be removed is queued once in the life of a server. There is nobody to refuse it to, so
whatever is wrong with a recipient is found at the attempt, and reported to the sender. A file that is no message is set
aside, once, and stops nothing else.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import IO

import attrs
from twisted.logger import Logger

from mailagent import log as events
from mailagent.config import Limits
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.trace import header_for_text, missing_fields, received_from_user
from mailagent.interfaces import IQueue, StorageFailed, StorageFull
from mailagent.reception.header_scan import HeaderScan
from mailagent.reception.transaction import Reception
from mailagent.smtp.batch import BadEnvelope, read_envelope
from mailagent.smtp.header_watch import HeaderWatch

_BLOCK = 65536
#: Files looked at in one round.
_ROUND = 1000
_SET_ASIDE = ".bad"
#: Seconds after which what somebody began to write is given up.
_ABANDONED = 36 * 3600
#: What opening says of a file that is not a message of ours to read; anything else is our trouble. EAGAIN: its owner
#: keeps everybody else away from it (F_SETLEASE), and could do so with each of a thousand.
_NOT_FOR_US = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EAGAIN)


class _BadFile(Exception):
    """What lies there is no message; the text says why."""


@attrs.frozen
class _Facts:
    """What the content is like: octets, whether it has any above 127, whether its header has, and what fields."""

    size: int
    eight_bit: bool
    utf8_header: bool
    has_header: bool
    present: frozenset[bytes]


@attrs.define
class Drop:
    """The drop at C{path}. Blocks: for a thread, and one at a time.

    @ivar limits: those of the moment, for size and header of a message.
    @ivar user_name: a user's name from the number.
    """

    path: str
    _reception: Reception
    _queue: IQueue
    _limits: Callable[[], Limits]
    _user_name: Callable[[int], str]
    _done_with: set[str] = attrs.field(factory=set, init=False)  # files that lie there, and are not looked at again
    _trouble: str = attrs.field(default="", init=False)
    _log = Logger()

    def take_all(self) -> None:
        """Take up what is there, the oldest first. Where our own side fails, the rest waits for the next time."""
        trouble = ""
        try:
            for name in self._names():
                self._take_or_set_aside(name)
        except (StorageFull, StorageFailed, OSError) as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            events.ERROR(self._log, what="taking up what is in the drop", reason=trouble)
        self._trouble = trouble

    def _names(self) -> list[str]:
        with os.scandir(self.path) as entries:
            names = [each.name for each in islice(filter(self._is_new, entries), _ROUND)]
        self._done_with.intersection_update(os.listdir(self.path) if self._done_with else ())
        return sorted(names)

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith("."):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < self._reception.seconds() - _ABANDONED:
                    os.unlink(entry.path)
            return False
        return not entry.name.endswith(_SET_ASIDE) and entry.name not in self._done_with

    def _take_or_set_aside(self, name: str) -> None:
        path = os.path.join(self.path, name)
        try:
            with _open(path) as file:
                self._take(file)
        except FileNotFoundError:
            return  # its owner has thought better of it
        except (_BadFile, BadEnvelope) as reason:
            self._set_aside(name, str(reason))
        except (StorageFull, StorageFailed, OSError):
            raise
        except Exception as defect:  # of ours: the file stays, for us to look at
            self._set_aside(name, repr(defect))
        else:
            self._done_with.add(name)  # should it not be possible to remove it
            os.unlink(path)
            self._done_with.discard(name)

    def _set_aside(self, name: str, reason: str) -> None:
        self._done_with.add(name)
        path = os.path.join(self.path, name)
        with suppress(OSError):
            os.rename(path, path + _SET_ASIDE)
        events.DROP_REFUSED(self._log, file=name, reason=reason)

    def _take(self, file: IO[bytes]) -> None:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise _BadFile("not a file with a single name")
        envelope = read_envelope(file)
        _check_routable(envelope)
        start = file.tell()
        if found.st_size - start > self._limits().message_size:
            raise _BadFile(f"larger than {self._limits().message_size} octets")
        facts = self._look(file, found.st_size - start)
        user = self._user_name(found.st_uid)
        message = self._message(envelope, facts, user, found.st_uid)
        self._queue.enqueue([message], lambda: _blocks(file, start, facts.size))
        recipients = [str(recipient) for recipient in envelope.recipients]
        sender = str(envelope.reverse_path or "")
        events.DROP_TAKEN(
            self._log, id=message.id, user=user, sender=sender, recipients=recipients, size=message.envelope.size
        )

    def _look(self, file: IO[bytes], size: int) -> _Facts:
        """Read the content once, to see that it can be sent, and what it is like."""
        limits, watch, scan = self._limits(), HeaderWatch(), HeaderScan(frozenset({b"date", b"message-id"}))
        eight_bit, seen = False, 0
        for block in _blocks(file, file.tell(), size):
            if b"\r" in block:
                raise _BadFile("line ends that are not LF")
            watch.feed(block)
            scan.feed(block)
            if watch.total > limits.header_size or watch.hops > limits.hops:
                raise _BadFile("the header is too large, or the message goes in a circle")
            eight_bit = eight_bit or not block.isascii()
            seen += len(block)
        return _Facts(seen, eight_bit, not scan.ascii, watch.size > 0, frozenset(scan.present))

    def _message(self, envelope: Envelope, facts: _Facts, user: str, number: int) -> QueuedMessage:
        host, now = self._reception.hostname, self._reception.seconds()
        new_id = self._reception.new_message_id()
        header = received_from_user(user, number, host, new_id, envelope.recipients, now)
        if facts.has_header:
            header += missing_fields(facts.present, host, new_id, now)
        else:
            header += header_for_text(envelope.reverse_path, envelope.recipients, host, new_id, now)
        size = facts.size + len(header)
        known = attrs.evolve(envelope, size=size, eight_bit=facts.eight_bit, utf8_header=facts.utf8_header)
        return QueuedMessage(new_id, known, header, envelope.reverse_path, user)


def _check_routable(envelope: Envelope) -> None:
    for recipient in envelope.recipients:
        if not recipient.host:
            raise _BadFile(f"no mail can be sent to <{recipient}>")


def _open(path: str) -> IO[bytes]:
    """Open what may be anything: without following a link, or waiting for the other end of a pipe."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_FOR_US:
            raise _BadFile(f"cannot be opened: {error.strerror}") from None
        raise
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise _BadFile("a directory")
    return open(fd, "rb")


def _blocks(file: IO[bytes], start: int, size: int) -> Iterator[bytes]:
    """So many octets from C{start} on, in pieces; fewer where the file has become shorter."""
    file.seek(start)
    while size > 0 and (block := file.read(min(_BLOCK, size))):
        size -= len(block)
        yield block
