"""Taking work in hand: recipients that are due, leased to this node under a token.

What it costs depends on what is taken, not on what waits: destinations are found by C{ready}, and their recipients by
C{due}, each in an index. Those that have waited longest and those that have just come take turns: where very many wait
in vain, the others do not wait for all of them to be tried. Two nodes that claim at the same time pass over each
other's rows.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain, cycle, zip_longest
from typing import Any

import attrs
import sqlalchemy as sa
from twisted.logger import Logger

from mailagent.database.ending import end_now
from mailagent.database.schema import destinations, messages, recipients
from mailagent.log import ERROR, RECIPIENT_QUARANTINED
from mailagent.queue.items import QUARANTINED, QUEUED, QueuedItem, QueuedRecipient, StoredMessage
from mailagent.queue.lanes import Allowance
from mailagent.queue.store_destinations import RETRY, WAITING, forget, recompute, space
from mailagent.queue.store_holds import NOT_HELD
from mailagent.queue.store_rows import ENVELOPE, UnreadableRow, is_text, read_message, read_recipient, storable

#: Recipients of one item (RFC 5321 section 4.5.3.1.8: what every server must take).
MOST_RECIPIENTS = 100
#: How many of a destination's recipients are looked at for each message wanted: some have several there.
_LOOK = 10

_READY = (
    sa.select(destinations.c.name, destinations.c.reason)
    .where(destinations.c.ready <= sa.bindparam("now"), NOT_HELD)
    .where(destinations.c.name.not_in(sa.bindparam("busy", expanding=True)))
    .limit(sa.bindparam("room", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_OLDEST, _NEWEST = _READY.order_by(destinations.c.ready), _READY.order_by(destinations.c.ready.desc())
_DUE_AT = sa.and_(recipients.c.destination == sa.bindparam("destination"), recipients.c.due <= sa.bindparam("now"))
_FIRST_ROWS = (
    sa.select(recipients)
    .where(_DUE_AT, WAITING)
    .order_by(recipients.c.due)
    .limit(sa.bindparam("rows", type_=sa.Integer))
)
_FIRST_DUE = _FIRST_ROWS.with_only_columns(recipients.c.message_id)
#: Here, what waits is spelt so that the index of all that is due is not thought fit for it.
_THEIR_DUE = (
    sa.select(recipients)
    .where(_DUE_AT, recipients.c.message_id.in_(sa.bindparam("wanted", expanding=True)))
    .where(recipients.c.state == QUEUED, sa.func.coalesce(recipients.c.lease_token, "") == "")
    .with_for_update(skip_locked=True)
)
#: The leased are few, and have an index.
_UNDER_WAY = (
    sa.select(recipients.c.destination, sa.func.count(recipients.c.lease_token.distinct()).label("under_way"))
    .where(recipients.c.lease_node.is_not(None))
    .where(recipients.c.destination.in_(sa.bindparam("names", expanding=True)))
    .group_by(recipients.c.destination)
)
#: Octets of content that are read along with the envelope, so that they need not be fetched when they are sent.
SMALL = 64 * 1024
_STORED = sa.select(
    *ENVELOPE, sa.case((sa.func.length(messages.c.body) <= SMALL, messages.c.body)).label("small")
).where(messages.c.id.in_(sa.bindparam("ids", expanding=True)))
_LEASE = (
    sa.update(recipients)
    .where(recipients.c.id == sa.bindparam("recipient"))
    .values(lease_node=sa.bindparam("node"), lease_token=sa.bindparam("token"))
)


@attrs.frozen
class Claimer:
    """Claims for one node.

    @ivar node: its id.
    """

    _node: str
    _log: Logger = attrs.field(factory=lambda: Logger("mailagent.queue"))
    _turns: Iterator[tuple[sa.Select[Any], ...]] = attrs.field(
        factory=lambda: cycle(((_OLDEST, _NEWEST), (_NEWEST, _OLDEST))), init=False
    )

    def due(
        self,
        connection: sa.Connection,
        now: float,
        room: int,
        windows: Mapping[str, int],
        window: int,
        busy: Collection[str],
        allowed: Callable[[str], Allowance],
        crowded: set[str],
    ) -> list[QueuedItem]:
        """Lease what is due. See L{mailagent.queue.store.Store.claim}."""
        rows: list[sa.RowMapping] = []
        end_now(connection)
        ready = self._ready(connection, now, room, busy)
        under_way = _under_way(connection, ready)
        for name in ready:
            if room <= 0:
                break
            allowance = allowed(name)
            left = allowance.most - under_way.get(name, 0)
            if left <= 0:
                crowded.add(name)
                continue
            found = _due_at(connection, name, now, min(windows.get(name, window), room, left, allowance.at_once))
            count = len({row["message_id"] for row in found})
            if count and allowance.pace:
                space(connection, name, now, count * allowance.pace)
            room -= count
            rows += found
            if not found:  # all of it was quarantined, or leased by another node just now
                recompute(connection, [name])
        urgent = {name for name, reason in ready.items() if reason == RETRY}
        items = self._lease(connection, rows)
        return [attrs.evolve(item, urgent=True) if item.destination in urgent else item for item in items]

    def overdue(
        self, connection: sa.Connection, now: float, give_up: float, delay_notice: float, limit: int
    ) -> list[QueuedItem]:
        """Lease what is to be given up, or told about. See L{mailagent.queue.store.Store.overdue}."""
        rows = _older(connection, False, now - min(give_up, delay_notice), limit)
        if len(rows) < limit:
            rows += _older(connection, True, now - give_up, limit - len(rows))
        return self._lease(connection, rows)

    def _ready(self, connection: sa.Connection, now: float, room: int, busy: Collection[str]) -> dict[str, str]:
        """Destinations where something is due, taken from both ends in turn, and why each was held last. One whose name
        cannot be read is removed."""
        wanted = {"node": self._node, "now": now, "busy": list(busy), "room": max(room, 0)}
        one, other = next(self._turns)
        rows = connection.execute(one, wanted).all()
        if len(rows) == wanted["room"]:  # else these are all
            rows = list(chain.from_iterable(zip_longest(rows, connection.execute(other, wanted).all())))
        found = {row.name: row.reason for row in rows if row is not None}
        for name in [name for name in found if not is_text(name)]:
            ERROR(self._log, what="the queue", reason=f"a destination cannot be read: {name!r}")
            forget(connection, name)
            del found[name]
        return found

    def _lease(self, connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[QueuedItem]:
        """Make items of the rows of recipients, and lease them; what cannot be read is set aside."""
        if not rows:
            return []
        stored = _messages(connection, rows)
        readable = {id_: message for id_, message in stored.items() if isinstance(message, StoredMessage)}
        groups: dict[tuple[str, str], list[QueuedRecipient]] = {}
        for row in rows:
            recipient = self._recipient(connection, row, stored.get(row["message_id"], UnreadableRow("message_id")))
            if recipient is not None:
                groups.setdefault((row["message_id"], row["destination"]), []).append(recipient)
        items = [item for (id_, name), group in groups.items() for item in _items(readable[id_], name, group)]
        leases = [
            {"recipient": recipient.id, "node": self._node, "token": item.token}
            for item in items
            for recipient in item.recipients
        ]
        if leases:
            connection.execute(_LEASE, leases)
        recompute(connection, {row["destination"] for row in rows})
        return items

    def _recipient(
        self, connection: sa.Connection, row: sa.RowMapping, message: StoredMessage | UnreadableRow
    ) -> QueuedRecipient | None:
        """A recipient from its row; C{None} if that, or its message's, cannot be read, and it was set aside."""
        try:
            if isinstance(message, UnreadableRow):
                raise message
            return read_recipient(row)
        except UnreadableRow as error:
            id_ = storable(str(row["message_id"]))
            RECIPIENT_QUARANTINED(self._log, id=id_, reason=f"recipient {row['id']}, column {error}")
            reason = {"state": QUARANTINED, "reply_text": storable(f"cannot be read: column {error}")}
            connection.execute(sa.update(recipients).where(recipients.c.id == row["id"]).values(reason))
            return None


def _messages(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> dict[str, StoredMessage | UnreadableRow]:
    """The messages of these recipients, or why one cannot be read."""
    found: dict[str, StoredMessage | UnreadableRow] = {}
    ids = sorted({row["message_id"] for row in rows if is_text(row["message_id"])})
    for row in connection.execute(_STORED, {"ids": ids}).mappings():
        try:
            found[row["id"]] = read_message(row)
        except UnreadableRow as error:
            found[row["id"]] = error
    return found


def _under_way(connection: sa.Connection, names: Collection[str]) -> dict[str, int]:
    """How many items are leased at these destinations, whose rows are locked: so there will be no more meanwhile. A
    SQLite database has one node, which knows its own."""
    if connection.dialect.name == "sqlite" or not names:
        return {}
    return {row.destination: row.under_way for row in connection.execute(_UNDER_WAY, {"names": list(names)})}


def _items(message: StoredMessage, destination: str, group: Sequence[QueuedRecipient]) -> Iterator[QueuedItem]:
    for start in range(0, len(group), MOST_RECIPIENTS):
        some = tuple(group[start : start + MOST_RECIPIENTS])
        yield QueuedItem(message, destination, some, secrets.token_hex(16))


def _due_at(connection: sa.Connection, destination: str, now: float, window: int) -> list[sa.RowMapping]:
    """The recipients due at a destination of at most C{window} messages, the longest due first."""
    at = {"destination": destination, "now": now}
    wanted = list(dict.fromkeys(connection.scalars(_FIRST_DUE, {**at, "rows": window * _LOOK})))[:window]
    if not wanted:
        return []
    if all(map(is_text, wanted)):
        found = connection.execute(_THEIR_DUE, {**at, "wanted": wanted}).mappings().all()
    else:  # damage, which cannot be looked for
        first = connection.execute(_FIRST_ROWS, {**at, "rows": window * _LOOK}).mappings()
        found = [row for row in first if row["message_id"] in wanted]
    return sorted(found, key=lambda row: (row["due"], row["id"]))


def _older(connection: sa.Connection, told: bool, created: float, limit: int) -> list[sa.RowMapping]:
    """Recipients that wait and were queued before C{created}, the oldest first."""
    old = sa.select(recipients).where(WAITING, recipients.c.delay_told == told, recipients.c.created <= created)
    old = old.order_by(recipients.c.created).limit(limit).with_for_update(skip_locked=True)
    return list(connection.execute(old).mappings())
