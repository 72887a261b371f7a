"""What a session process has in place of a queue and of counters of its own: the owner's, over the channel.

The owner gone means that nothing is taken (L{StorageFailed}, so 451) and that nobody logs in (454).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.interfaces import Chunks, IQueue, StorageFailed
from mailagent.workers import wire
from mailagent.workers.channel import PIECE, Channel, Refused


def pieces(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The content in pieces of L{PIECE} octets, each with whether it is the last; at least one, perhaps empty."""
    waiting = b""
    for chunk in chunks:
        waiting += chunk
        while len(waiting) > PIECE:
            yield waiting[:PIECE], False
            waiting = waiting[PIECE:]
    yield waiting, True


@implementer(IQueue)
@attrs.define(eq=False)
class RemoteQueue:
    """The owner's queue."""

    _channel: Channel
    _reactor: Any
    _numbers: Iterator[int] = attrs.field(factory=count, init=False)

    def enqueue(self, messages: Sequence[QueuedMessage], content: Chunks) -> None:
        """See L{IQueue}."""
        number, whole = next(self._numbers), False
        first: dict[str, object] = {"messages": wire.pack(messages)}
        try:
            for piece, whole in pieces(content()):
                word = "enqueue" if first else "piece"
                ask = partial(self._channel.ask, word, piece, number=number, whole=whole, **first)
                blockingCallFromThread(self._reactor, ask)
                first = {}
        except (ConnectionLost, Refused) as error:
            raise _failed(error) from None
        finally:
            if not whole:
                self._reactor.callFromThread(self._channel.tell, "forget", number=number)

    def enqueue_small(self, messages: Sequence[QueuedMessage], content: bytes) -> Deferred[None]:
        """See L{IQueue}."""
        facts = {"number": next(self._numbers), "whole": True, "messages": wire.pack(messages)}

        def lost(failure: Failure) -> None:
            failure.trap(ConnectionLost, Refused)
            raise _failed(failure.value) from None

        return self._channel.ask("enqueue", content, **facts).addErrback(lost)


def _failed(error: object) -> StorageFailed:
    return StorageFailed(f"the process that has the queue: {error}")


@attrs.frozen
class _Turn:
    """A turn at the owner's. The numbers are the channel's own: each process counts for itself."""

    _channel: Channel
    _number: int
    _address: str
    _name: str

    def acquire(self) -> Deferred[Any]:
        """Fires when it is ours."""
        return self._channel.ask("turn", number=self._number, address=self._address, name=self._name)

    def release(self) -> None:
        """It is another's."""
        self._channel.tell("turn_over", number=self._number)


@attrs.define(eq=False)
class RemoteLoginLimits:
    """The owner's L{mailagent.policy.login_limits.LoginLimits}."""

    _channel: Channel
    _numbers: Iterator[int] = attrs.field(factory=count, init=False)

    def refusal(self, address: str, name: str) -> Deferred[Reply | None]:
        """See L{mailagent.smtp.login.Limits}."""
        asked = self._channel.ask("refusal", address=address, name=name)
        return asked.addCallback(lambda packed: packed and Reply(*packed))

    def turns(self, address: str, name: str) -> tuple[_Turn]:
        """See L{mailagent.smtp.login.Limits}."""
        return (_Turn(self._channel, next(self._numbers), address, name),)

    def failed(self, address: str, name: str) -> Deferred[float]:
        """See L{mailagent.smtp.login.Limits}."""
        return self._channel.ask("failed", address=address, name=name)

    def succeeded(self, address: str, name: str) -> Deferred[None]:
        """See L{mailagent.smtp.login.Limits}."""
        return self._channel.ask("succeeded", address=address, name=name)
