"""The queue in the database: everything that is done with its tables on the way of a message.

Each operation is one step of a transaction that belongs to the caller (L{mailagent.database.writer.Writer} or
L{mailagent.database.reader.Reader}), blocks, and costs the same whatever else waits. Moments are seconds since the
epoch; C{now} is the caller's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence

import sqlalchemy as sa

from mailagent import __version__
from mailagent.database.hung import end_hung
from mailagent.database.schema import VERSION
from mailagent.envelope.queued import QueuedMessage
from mailagent.queue import store_content, store_destinations, store_holds, store_insert, store_nodes, store_settle
from mailagent.queue.items import QueuedItem, Settlement
from mailagent.queue.lanes import Allowance
from mailagent.queue.store_claim import Claimer
from mailagent.queue.store_holds import Hold
from mailagent.queue.store_insert import Arrival
from mailagent.queue.store_nodes import LEASE
from mailagent.queue.store_settle import ItemSettlement


class Store:
    """See the module.

    @param node: this node's id (see L{mailagent.database.node}).
    @param name: what people call it: its host name.
    """

    def __init__(self, node: str, name: str = "") -> None:
        self._name = name
        self._process = secrets.token_hex(16)
        self.become(node)

    def become(self, node: str) -> None:
        """Be another node from now on. What was leased to the one we were is not ours any more."""
        self._node = node
        self._claimer = Claimer(node)

    @property
    def node(self) -> str:
        """This node's id."""
        return self._node

    def start(self, connection: sa.Connection, lease: float = LEASE) -> int:
        """Register this node, and free what it had leased when it ended; returns how many recipients that were.

        @param lease: for how many seconds it may be silent until others take up what it has in hand.
        """
        return store_nodes.start(connection, self._me(lease))

    def beat(self, connection: sa.Connection, lease: float = LEASE) -> set[str] | None:
        """Say that this node lives. Where it had been silent for so long that others may have taken up what it has in
        hand: the tokens of what is still its own; else C{None}.

        @raise NodeTaken: another process has started as this node since L{start}.
        """
        return store_nodes.beat(connection, self._me(lease))

    def leave(self, connection: sa.Connection) -> None:
        """Say that this node ends."""
        store_nodes.leave(connection, self._me(0.0))

    def adopt(self, connection: sa.Connection) -> int:
        """Free the leases of other nodes that have been silent for too long, and forget them after a day; returns how
        many recipients that were."""
        return store_nodes.adopt(connection, self._node)

    def end_hung(self, connection: sa.Connection) -> list[str]:
        """End the transactions of others that have been silent in the middle for too long, and keep us from what they
        have locked; returns the addresses that they came from. Only for PostgreSQL."""
        return end_hung(connection)

    def _me(self, lease: float) -> dict[str, object]:
        me: dict[str, object] = {"id": self._node, "process": self._process, "name": self._name}
        return {**me, "version": __version__, "lease": lease, "tables": VERSION}

    def leases(self, connection: sa.Connection) -> set[str]:
        """The tokens of all items that are leased to this node."""
        return store_nodes.leases(connection, self._node)

    def free(self, connection: sa.Connection, tokens: Collection[str]) -> int:
        """Free what is leased to this node under these tokens, which nobody has in hand; returns how many recipients
        that were."""
        return store_nodes.free(connection, self._node, tokens)

    def insert_chunk(self, connection: sa.Connection, message_id: str, number: int, octets: bytes) -> None:
        """Store a piece of a large message's content, ahead of its envelope. C{number} counts from 0."""
        store_insert.insert_chunk(connection, message_id, number, octets)

    def insert(self, connection: sa.Connection, messages: Sequence[QueuedMessage], body: bytes, now: float) -> None:
        """Publish messages that share a small content, due at once."""
        self.insert_many(connection, [Arrival(messages, body, now)])

    def insert_many(self, connection: sa.Connection, arrivals: Sequence[Arrival]) -> Sequence[None]:
        """The same of several small contents, each with its messages, in as many statements as for one."""
        return store_insert.insert_many(connection, arrivals)

    def insert_staged(
        self, connection: sa.Connection, messages: Sequence[QueuedMessage], chunks: int, now: float
    ) -> None:
        """The same of a large content, of which so many C{chunks} have been stored for each message without its own.

        @raise mailagent.interfaces.StorageFailed: they are not there any more.
        """
        store_insert.insert_staged(connection, messages, chunks, now)

    def discard(self, connection: sa.Connection, ids: Sequence[str]) -> None:
        """Remove the chunks of messages that will not be published after all."""
        store_insert.discard(connection, ids)

    def claim(
        self,
        connection: sa.Connection,
        now: float,
        room: int,
        windows: Mapping[str, int] | None = None,
        window: int = 2,
        busy: Collection[str] = (),
        allowed: Callable[[str], Allowance] = lambda destination: Allowance(),
        crowded: set[str] | None = None,
    ) -> list[QueuedItem]:
        """Lease what is due, where it has waited longest and where it has just come in turn.

        There may be more: until nothing is given, ask again, with what was given counted.

        @param room: messages wanted at most (one with more than 100 recipients at a destination makes several items).
        @param windows: messages wanted at most for a destination, at least 1; C{window} for those not named.
        @param busy: destinations for which none are wanted.
        @param allowed: what a destination gets from all nodes together.
        @param crowded: has those added to it that would get no more now.
        """
        crowded = set() if crowded is None else crowded
        return self._claimer.due(connection, now, room, windows or {}, window, busy, allowed, crowded)

    def overdue(
        self, connection: sa.Connection, now: float, give_up: float, delay_notice: float, limit: int
    ) -> list[QueuedItem]:
        """Lease what has waited too long, wherever it is due and whatever is held.

        That is what is older than C{give_up} seconds, and what is older than C{delay_notice} and has not been
        settled as C{delay_told}. The scheduler tells them apart by age.

        @param limit: recipients at most.
        """
        return self._claimer.overdue(connection, now, give_up, delay_notice, limit)

    def still_leased(self, connection: sa.Connection, item: QueuedItem) -> bool:
        """Whether nobody has taken any of the item's recipients away from us."""
        return store_settle.still_leased(connection, item)

    def settle(
        self,
        connection: sa.Connection,
        item: QueuedItem,
        settlements: Sequence[Settlement],
        reports: Sequence[tuple[QueuedMessage, bytes]],
        at: float,
        seconds: float,
    ) -> bool:
        """Write down what became of an item's recipients: history, states, and reports to be sent, in one.

        The lease of those named ends. A message's content goes when none of its recipients needs it.

        @param settlements: at least one.
        @param reports: new messages, each with its content.
        @param at: when the attempt began; C{seconds}: how long it took.
        @return: C{False}, and nothing is written, where the lease is not ours any more.
        """
        return self.settle_many(connection, [ItemSettlement(item, settlements, reports, at, seconds)])[0]

    def settle_many(self, connection: sa.Connection, many: Sequence[ItemSettlement]) -> list[bool]:
        """The same of several items, each by itself, in as many statements as for one."""
        return store_settle.settle(connection, many)

    def release(self, connection: sa.Connection, item: QueuedItem, due: float | None = None) -> bool:
        """Give a lease back, as nothing was tried: due as before, or at C{due}. C{False} where it was not ours."""
        return store_settle.release(connection, item, due)

    def hold_destination(self, connection: sa.Connection, destination: str, until: float, reason: str) -> None:
        """Claim nothing there before C{until}. Nor does any other node, once all that live hold it."""
        store_destinations.hold(connection, destination, Hold(self._node, until, reason))

    def recall(self, connection: sa.Connection, now: float, seconds: float, limit: int) -> int:
        """Have what is held or due by more than C{seconds} from now due now: no wait is that long, so that it was
        written by a clock which was ahead. Returns for how many destinations; as long as there are any, ask again."""
        store_holds.recall(connection, self._node, now + seconds)
        return store_destinations.recall(connection, now, now + seconds, limit)

    def next_ready(self, connection: sa.Connection, now: float, busy: Collection[str] = ()) -> float | None:
        """When there is something to claim, apart from destinations that are C{busy}, or that this node holds for
        longer than all do; C{None} if nothing waits."""
        return store_destinations.next_ready(connection, self._node, now, busy)

    def read_piece(self, connection: sa.Connection, message_id: str, number: int) -> bytes | None:
        """A piece of the content (the message's C{header} goes ahead of it), counted from 0; C{None} past the end."""
        return store_content.read_piece(connection, message_id, number)

    def sweep(self, connection: sa.Connection, now: float, keep: float, limit: int) -> int:
        """Remove some of what nobody needs: history C{keep} seconds after its end, content that no envelope came for
        within a day, destinations where nothing waits. Returns how many; as long as there are any, ask again. Holds
        that have ended are all forgotten at once."""
        store_holds.sweep(connection, self._node, now)
        return store_content.sweep(connection, now, keep, limit)
