"""The way into the queue, and the content's way out of it. No message is whole in memory, unless it is small."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailagent.database.reader import Reader
from mailagent.database.trouble import trouble
from mailagent.database.writer import Batched, Writer
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import Chunks, IQueue, StorageFailed, StorageFull
from mailagent.queue.items import StoredMessage
from mailagent.queue.store import Store
from mailagent.queue.store_insert import CHUNK, Arrival


class ContentLost(StorageFailed):
    """A message's content is not in the database, or not all of it."""


@implementer(IQueue)
@attrs.frozen
class Queue:
    """Takes messages in; L{mailagent.interfaces.IQueue} has the contract.

    @ivar seconds: the time, in seconds since the epoch.
    @ivar reactor: C{callFromThread} is all that is used of it.
    @ivar woken: called in the reactor's thread when there is something new.
    """

    _writer: Writer
    _store: Store
    _seconds: Callable[[], float]
    _reactor: Any
    _woken: Callable[[], None]

    def enqueue(self, messages: Sequence[QueuedMessage], content: Chunks) -> None:
        """Take all of these messages, durably, or none; see L{IQueue}."""
        with trouble():  # the content's is the disk's
            shared = any(message.body is None for message in messages)
            pieces = rechunked(content() if shared else (), CHUNK)
            first = next(pieces, b"")
            second = next(pieces, None)
            if second is None:
                self._writer.call(self._insertion(messages, first))
            else:
                self._stage(messages, (first, second), pieces)
        self._reactor.callFromThread(self._woken)

    def enqueue_small(self, messages: Sequence[QueuedMessage], content: bytes) -> Deferred[None]:
        """The same of a content that is small; see L{IQueue}."""
        return self._writer.run(self._insertion(messages, content)).addCallback(lambda _: self._woken())

    def _insertion(self, messages: Sequence[QueuedMessage], content: bytes) -> Batched[Arrival, None]:
        return Batched(self._store.insert_many, Arrival(messages, content, self._seconds()))

    def _publish(self, messages: Sequence[QueuedMessage], chunks: int) -> None:
        now = self._seconds()
        self._writer.call(lambda connection: self._store.insert_staged(connection, messages, chunks, now))

    def _stage(self, messages: Sequence[QueuedMessage], ahead: Iterable[bytes], pieces: Iterator[bytes]) -> None:
        """Store large content for each message, a transaction for each piece, then publish."""
        ids = [message.id for message in messages if message.body is None]
        number = 0
        try:
            for some in (ahead, pieces):
                for piece in some:
                    self._writer.call(partial(self._insert_chunk, ids, number, piece))
                    number += 1
            self._publish(messages, number)
        except BaseException:
            with suppress(StorageFailed, StorageFull):  # the sweep finds it, then
                self._writer.call(lambda connection: self._store.discard(connection, ids))
            raise

    def _insert_chunk(self, ids: Sequence[str], number: int, piece: bytes, connection: Any) -> None:
        for id_ in ids:
            self._store.insert_chunk(connection, id_, number, piece)


def rechunked(content: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same octets in pieces of C{size}, but for the last one; no empty ones."""
    held = bytearray()
    for piece in content:
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def reading(reader: Reader, store: Store, message: StoredMessage) -> Callable[[], AsyncIterator[bytes]]:
    """How an attempt reads a message: header and content in pieces, from the start each time it is called.

    The iterator raises L{ContentLost}, or another L{StorageFailed} where the database cannot be read.
    """

    async def pieces() -> AsyncIterator[bytes]:
        if message.body is not None:
            yield message.header + message.body
            return
        yield message.header
        for number in range(max(1, message.chunks)):
            piece = await reader.run(partial(_piece, store, message.id, number))
            if piece is None:
                raise ContentLost(f"{message.id}: piece {number} of the content is missing")
            yield piece

    return pieces


def _piece(store: Store, message_id: str, number: int, connection: Any) -> bytes | None:
    return store.read_piece(connection, message_id, number)
