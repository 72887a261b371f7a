"""What is done with one item that was claimed: it is tried, or given up, and what came of it is written down.

What holds for each:

  1. What an attempt came to is written where the lease is still ours, and as long as it takes.
  2. A courier that fails in a way it does not promise has deferred the message.
  3. A lease ends in every case: by a settlement, by a release, or, where the database is away at a stop, by the next
     start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random

import attrs
import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from mailagent import log as events
from mailagent.config.outbound import QueueSettings
from mailagent.database.writer import Batched
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.interfaces import (
    Attempt,
    Attempted,
    DestinationBusy,
    ICourier,
    LeaseLost,
    StorageFailed,
    StorageFull,
)
from mailagent.queue.access import Access, Run
from mailagent.queue.items import DELIVERED, EXPIRED, FAILED, QUEUED, QueuedItem, Settlement
from mailagent.queue.lanes import Lanes
from mailagent.queue.reporter import Content, Reporter
from mailagent.queue.store import Store
from mailagent.queue.store_rows import storable
from mailagent.queue.store_settle import ItemSettlement
from mailagent.queue.verdict import judged, overdue

_OUR_TROUBLE = Reply(451, "4.3.0", "Our own trouble, tried again later")
#: Seconds; a destination that is busy for no time at all would be asked again and again.
_LEAST_HOLD = 1.0
_EVENTS = {
    DELIVERED: events.RECIPIENT_DELIVERED,
    QUEUED: events.RECIPIENT_DEFERRED,
    FAILED: events.RECIPIENT_FAILED,
    EXPIRED: events.RECIPIENT_EXPIRED,
}


@attrs.define(eq=False)
class Attempts:
    """See the module.

    @ivar seconds: the time, in seconds since the epoch.
    @ivar alive: whether no other node can have taken our leases.
    @ivar stopping: attempts are being cancelled, by us.
    @ivar trying: the tokens of items that the courier has now. What came of the others is being written down, where
        a lease that was lost is seen.
    @ivar lost: of these, items that others have taken up; attempts at them are being cancelled, too.
    """

    _store: Store
    _courier: ICourier
    _content: Content
    _read: Run
    _reading: Access
    _writing: Access
    _lanes: Lanes
    _reporter: Reporter
    _seconds: Callable[[], float]
    _alive: Callable[[], bool]
    _random: Random
    _log: Logger
    stopping: bool = attrs.field(default=False, init=False)
    trying: set[str] = attrs.field(factory=set, init=False)
    lost: set[str] = attrs.field(factory=set, init=False)

    async def deliver(self, item: QueuedItem, settings: QueueSettings) -> None:
        """Try one item. May be cancelled."""
        began = self._seconds()
        settlements: list[Settlement] = []
        try:
            attempted = await self._attempt(item)
            if attempted is not None:
                settlements = judged(item, attempted.outcomes, self._seconds(), settings, self._random.random())
                self._resize(item.destination, attempted)
                await self._settle(item, settlements, settings, began, attempted.hold)
        except CancelledError:
            if item.token in self.lost:
                self._tell_lost(item)
            await self._give_back(item, settlements, began)
        except Exception:
            self._log.failure("{id} settling", id=item.message.id, event="error")
            await self._rescue(item, settlements, settings, began)
        finally:
            self.lost.discard(item.token)

    async def end(self, item: QueuedItem, settings: QueueSettings) -> None:
        """Give up, or tell of, what has waited too long. May be cancelled."""
        now = self._seconds()
        try:
            await self._settle(item, overdue(item, now, settings), settings, now)
        except CancelledError:
            await self.release(item)
        except Exception:
            self._log.failure("{id} giving up", id=item.message.id, event="error")
            await self._rescue(item, [], settings, now)

    async def release(self, item: QueuedItem) -> None:
        """Give back what was not tried after all. Does not fail: the next start does it, if need be."""
        with suppress(Exception):  # the log has it
            await self._writing.once(partial(self._store.release, item=item))

    async def _attempt(self, item: QueuedItem) -> Attempted | None:
        """What came of an attempt; C{None} where there is nothing to be settled."""
        id_ = item.message.id
        try:
            attempted = await self._tried(item)
            if len(attempted.outcomes) == len(item.recipients):
                return attempted
            events.ERROR(self._log, what=f"{id_} courier", reason=f"{len(attempted.outcomes)} outcomes")
        except DestinationBusy as busy:
            await self._postpone(item, busy.seconds)
            return None
        except LeaseLost:
            self._tell_lost(item)
            return None
        except (StorageFailed, StorageFull) as error:
            events.ERROR(self._log, what=f"{id_} courier", reason=str(error))
        except (Exception, CancelledError) as error:
            if isinstance(error, CancelledError) and (self.stopping or item.token in self.lost):
                raise
            self._log.failure("{id} courier", id=id_, event="error")
        return Attempted(tuple(Outcome(each.address, _OUR_TROUBLE) for each in item.recipients))

    async def _tried(self, item: QueuedItem) -> Attempted:
        self.trying.add(item.token)
        try:
            return await self._courier.deliver(self._order(item))
        finally:
            self.trying.discard(item.token)

    def _order(self, item: QueuedItem) -> Attempt:
        return Attempt(
            item.message.id,
            item.envelope(),
            item.destination,
            item.message.login,
            self._content(item.message),
            lambda: self._still_ours(item),
            item.urgent,
        )

    def _still_ours(self, item: QueuedItem) -> Deferred[bool]:
        """Nobody takes a lease from a node that lives, so that the database need not be asked while we do."""
        if self._alive():
            return succeed(True)
        return self._read(partial(self._store.still_leased, item=item))

    async def _postpone(self, item: QueuedItem, seconds: float) -> None:
        """Nothing was tried: give it back, and let the destination rest."""
        self._lanes.shrink(item.destination)
        seconds = max(seconds, _LEAST_HOLD)
        until = self._seconds() + seconds

        def release_and_hold(connection: sa.Connection) -> bool:
            ours = self._store.release(connection, item)
            if ours:
                self._store.hold_destination(connection, item.destination, until, "busy")
            return ours

        if await self._writing.insist(release_and_hold):
            events.DESTINATION_HELD(self._log, destination=item.destination, seconds=seconds)
        else:
            self._tell_lost(item)

    def _resize(self, destination: str, attempted: Attempted) -> None:
        if attempted.hold > 0:
            self._lanes.shrink(destination)
        elif not all(outcome.deferred for outcome in attempted.outcomes):
            self._lanes.grow(destination)

    async def _settle(
        self,
        item: QueuedItem,
        settlements: Sequence[Settlement],
        settings: QueueSettings,
        began: float,
        hold: float = 0.0,
    ) -> None:
        """Write down what became of an item, and the report of it, at the same time."""
        now = self._seconds()
        reports = await self._reading.insist_on(
            partial(self._reporter.reports, item.message, settlements, began, settings.give_up)
        )

        settlement = ItemSettlement(item, settlements, reports, began, max(0.0, now - began))
        settle = Batched(self._store.settle_many, settlement)

        def settle_and_hold(connection: sa.Connection) -> bool:
            ours = settle(connection)
            if ours:
                self._store.hold_destination(connection, item.destination, now + hold, _reason(settlements))
            return ours

        if not await self._writing.insist(settle_and_hold if hold > 0 else settle):
            self._tell_lost(item)
            return
        if hold > 0:
            events.DESTINATION_HELD(self._log, destination=item.destination, seconds=hold)
        self._tell(item, settlements, reports, now)

    async def _rescue(
        self, item: QueuedItem, settlements: Sequence[Settlement], settings: QueueSettings, began: float
    ) -> None:
        """After a defect of ours: what was delivered is not delivered again; the rest is, much later."""
        due = self._seconds() + settings.retry_most
        with suppress(CancelledError):
            await self._writing.insist(partial(self._keep_delivered, item, settlements, began, due))

    async def _give_back(self, item: QueuedItem, settlements: Sequence[Settlement], began: float) -> None:
        """At a stop: what was delivered is not delivered again, if the database takes it now; the rest is. Where the
        lease is not ours any more, nothing is written."""
        with suppress(Exception):  # the log has it; the next start frees the lease
            await self._writing.once(partial(self._keep_delivered, item, settlements, began, None))

    def _keep_delivered(
        self,
        item: QueuedItem,
        settlements: Sequence[Settlement],
        began: float,
        due: float | None,
        connection: sa.Connection,
    ) -> None:
        """Settle what was delivered, without a report, and release the rest: due as before, or at C{due}."""
        delivered = [each for each in settlements if each.state == DELIVERED]
        rest = tuple(each for each in item.recipients if each not in [done.recipient for done in delivered])
        if delivered:
            self._store.settle(connection, item, delivered, [], began, max(0.0, self._seconds() - began))
        if rest:
            self._store.release(connection, attrs.evolve(item, recipients=rest), due)

    def _tell_lost(self, item: QueuedItem) -> None:
        events.LEASE_LOST(self._log, id=item.message.id, destination=item.destination)

    def _tell(
        self,
        item: QueuedItem,
        settlements: Sequence[Settlement],
        reports: Sequence[tuple[QueuedMessage, bytes]],
        now: float,
    ) -> None:
        """Have the log know."""
        for settlement in settlements:
            recipient, outcome = settlement.recipient, settlement.outcome
            if outcome is None and settlement.state == QUEUED:
                continue  # nothing has happened but the notice
            hop = outcome.hop if outcome is not None else Hop(recipient.host)
            _EVENTS[settlement.state](
                self._log,
                id=item.message.id,
                recipient=recipient.address,
                host=hop.host or "-",
                address=hop.address,
                tls=hop.tls,
                reply=(outcome.reply if outcome is not None else recipient.reply) or "",
                attempts=recipient.attempts + (outcome is not None),
                delay=max(0.0, now - item.message.created),
            )
        for report, _ in reports:
            events.REPORT_QUEUED(
                self._log, id=item.message.id, report=report.id, recipient=report.envelope.recipients[0]
            )


def _reason(settlements: Sequence[Settlement]) -> str:
    """Why a destination is held: the reply that says so."""
    replies = [str(each.outcome.reply) for each in settlements if each.outcome is not None and each.outcome.deferred]
    return storable(replies[0]) if replies else ""
