"""What the owner of the queue does for one session process: take its mail for elsewhere, count its failed logins.

A message's content comes in pieces, each answered when the next is welcome; it is staged like any that comes in here,
so it is bounded in memory, and the answer to the last piece is the queue's own. What comes in one piece goes into the
queue at once, as long as there is memory for it. What a process that ends has begun is forgotten, and the turns it
holds are given back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock

from mailagent.budget import Budget
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import IMailstore, IQueue, IStagedBody, StorageFailed
from mailagent.policy.login_limits import LoginLimits
from mailagent.workers import wire
from mailagent.workers.channel import Words

#: A reply as JSON has it: code, enhanced status, text.
PackedReply = tuple[int, str, str]


@attrs.define(eq=False)
class Owner:
    """See the module.

    @ivar mailstore: stages content.
    @ivar limits: the failed logins of all processes.
    @ivar budget: the memory of this process.
    """

    _mailstore: IMailstore
    _queue: IQueue
    _limits: LoginLimits
    _budget: Budget
    _coming: dict[int, tuple[list[QueuedMessage], IStagedBody]] = attrs.field(factory=dict, init=False)
    _turns: dict[int, list[DeferredLock]] = attrs.field(factory=dict, init=False)

    @property
    def words(self) -> Words:
        """What a session process may say."""
        return {
            "enqueue": self._enqueue,
            "piece": self._piece,
            "forget": self._forget,
            "refusal": self._refusal,
            "turn": lambda octets, **facts: Deferred.fromCoroutine(self._turn(**facts)),
            "turn_over": self._turn_over,
            "failed": lambda octets, address, name: self._limits.failed(address, name),
            "succeeded": lambda octets, address, name: self._limits.succeeded(address, name),
        }

    def gone(self) -> None:
        """The process has ended."""
        for number in list(self._coming):
            self._forget(b"", number)
        for number in list(self._turns):
            self._turn_over(b"", number)

    def _enqueue(self, octets: bytes, number: int, messages: Sequence[Mapping[str, Any]], whole: bool) -> Any:
        unpacked = wire.unpack(messages)
        if whole and not self._budget.exhausted:
            return self._enqueue_small(unpacked, octets)
        self._coming[number] = (unpacked, self._mailstore.stage(None))
        return self._piece(octets, number, whole)

    def _enqueue_small(self, messages: Sequence[QueuedMessage], octets: bytes) -> Deferred[None]:
        held = len(octets) + sum(len(message.body or b"") for message in messages)

        def release(result: Any) -> Any:
            self._budget.change(-held)
            return result

        taken = self._queue.enqueue_small(messages, octets)
        self._budget.change(held)
        return taken.addBoth(release)

    def _piece(self, octets: bytes, number: int, whole: bool) -> Deferred[None]:
        return Deferred.fromCoroutine(self._take(octets, number, whole))

    async def _take(self, octets: bytes, number: int, whole: bool) -> None:
        messages, body = self._coming[number]
        wait = body.write(octets)
        if wait is not None:
            await wait
        if number not in self._coming:
            raise StorageFailed("who sent it has given it up")
        if whole:
            del self._coming[number]
            try:
                await self._mailstore.commit(messages[0].id, (), body, partial(self._queue.enqueue, messages))
            finally:
                body.discard()

    def _forget(self, octets: bytes, number: int) -> None:
        if (coming := self._coming.pop(number, None)) is not None:
            coming[1].discard()

    def _refusal(self, octets: bytes, address: str, name: str) -> PackedReply | None:
        refusal = self._limits.refusal(address, name)
        return None if refusal is None else (refusal.code, refusal.status, refusal.text)

    async def _turn(self, number: int, address: str, name: str) -> None:
        held = self._turns[number] = []
        for turn in self._limits.turns(address, name):
            await turn.acquire()
            if self._turns.get(number) is not held:  # who asked is gone
                turn.release()
                return
            held.append(turn)

    def _turn_over(self, octets: bytes, number: int) -> None:
        for turn in self._turns.pop(number, []):
            turn.release()
