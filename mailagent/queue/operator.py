"""What a person does to the queue: tries again, holds, releases, returns, drops.

One step of a transaction that writes, for some recipients at a time. What is in delivery at this moment is left alone:
nobody could say whether it was delivered. Each recipient's L{Change} says what happened.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from random import Random

import attrs
import sqlalchemy as sa

from mailagent.database.schema import messages, recipients
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import DROPPED, FAILED, HELD, QUARANTINED, QUEUED, QueuedItem, Settlement, StoredMessage
from mailagent.queue.marked import target_name
from mailagent.queue.reporter import Reporter
from mailagent.queue.store_content import read_piece
from mailagent.queue.store_destinations import end_holds, restore
from mailagent.queue.store_nodes import living
from mailagent.queue.store_rows import ENVELOPE, UnreadableRow, read_message, read_recipient
from mailagent.queue.store_settle import ItemSettlement, retire, settle

#: Recipients changed in one transaction: others wait for it.
BATCH = 100
#: What the sender of returned mail reads.
RETURNED = Reply(550, "5.0.0", "Returned by the mail server's operator")


@attrs.frozen
class Change:
    """What happened to one recipient of a message: C{text}, and whether it is what was asked for."""

    id: str
    recipient: str
    done: bool
    text: str


@attrs.frozen
class Verb:
    """Something that can be done.

    @ivar states: those in which it can be; in others nothing happens.
    @ivar state: the one it leads to; C{text}, what is said of it.
    """

    states: frozenset[str]
    state: str
    text: str


#: Not C{fail}, which takes a report as well: see L{Operator}.
VERBS: Mapping[str, Verb] = {
    "retry": Verb(frozenset({QUEUED, QUARANTINED}), QUEUED, "due now"),
    "hold": Verb(frozenset({QUEUED}), HELD, "held"),
    "release": Verb(frozenset({HELD}), QUEUED, "released, due now"),
    "fail": Verb(frozenset({QUEUED, HELD}), FAILED, "returned to the sender"),
    "drop": Verb(frozenset({QUEUED, HELD, QUARANTINED}), DROPPED, "dropped"),
}


@attrs.frozen
class Operator:
    """A person at the queue.

    @ivar hostname: ours, which reports come from.
    @ivar seconds: the time, in seconds since the epoch.
    @ivar random: for reports' ids.
    """

    _hostname: str
    _seconds: Callable[[], float]
    _random: Random

    def change(self, connection: sa.Connection, name: str, numbers: Sequence[int]) -> list[Change]:
        """Do one of L{VERBS} to at most L{BATCH} recipients."""
        verb, now = VERBS[name], self._seconds()
        found = sa.select(recipients).where(recipients.c.id.in_(numbers)).order_by(recipients.c.id)  # to be locked
        rows = list(connection.execute(found.with_for_update()).mappings())
        rows.sort(key=lambda row: str(row["message_id"]))
        alive = living(connection)
        refusals = {row["id"]: refusal for row in rows if (refusal := _refusal(name, row, alive))}
        wanted = [row for row in rows if row["id"] not in refusals]
        if name == "fail":
            told, failed = self._fail(connection, wanted, now)
            refusals |= failed
        else:
            told = dict.fromkeys((row["id"] for row in wanted), verb.text)
            _write(connection, name, wanted, now)
        return [
            Change(row["message_id"], row["address"], row["id"] in told, told.get(row["id"]) or refusals[row["id"]])
            for row in rows
        ]

    def _fail(
        self, connection: sa.Connection, rows: Sequence[sa.RowMapping], now: float
    ) -> tuple[dict[int, str], dict[int, str]]:
        """Settle recipients as failed, with a report for each message; what is told of those, and of the others."""
        told: dict[int, str] = {}
        refusals: dict[int, str] = {}
        for message_id, group in groupby(rows, key=lambda row: str(row["message_id"])):
            some = list(group)
            try:
                message, item = _leased(connection, message_id, some)
            except UnreadableRow as error:
                refusals |= {row["id"]: f"cannot be read (column {error}): only drop is possible" for row in some}
                continue
            settlements = [
                Settlement(recipient, Outcome(recipient.address, RETURNED), FAILED) for recipient in item.recipients
            ]
            reports = self._reports(connection, message, settlements, now)
            settle(connection, [ItemSettlement(item, settlements, reports, now, 0.0)])
            text = VERBS["fail"].text if reports else "failed; nobody is to be told"
            told |= {recipient.id: text for recipient in item.recipients}
        restore(connection, {row["destination"] for row in rows})
        return told, refusals

    def _reports(
        self, connection: sa.Connection, message: StoredMessage, settlements: Sequence[Settlement], now: float
    ) -> list[tuple[QueuedMessage, bytes]]:
        reporter = Reporter(partial(_reading, connection), self._hostname, self._seconds, self._random)
        composing = reporter.reports(message, settlements, now, 0.0)
        try:
            composing.send(None)
        except StopIteration as end:
            found: list[tuple[QueuedMessage, bytes]] = end.value
            return found
        raise AssertionError("a report waits for something, though the connection is here")


def _refusal(name: str, row: sa.RowMapping, alive: set[str]) -> str:
    """Why nothing is done to a recipient; C{""} where something is."""
    if row["lease_token"] is not None and row["lease_node"] in alive:
        return "in delivery now: left alone"
    if row["state"] in VERBS[name].states:
        return ""
    if target := target_name(row):
        return f"on its way to {target}: finish that move, or mailagent queue move --abandon"
    if row["state"] == QUARANTINED:
        return "cannot be read: only retry and drop are possible"
    return {QUEUED: "not held", HELD: "held: release it first"}.get(row["state"], f"{row['state']} already")


def _write(connection: sa.Connection, name: str, rows: Sequence[sa.RowMapping], now: float) -> None:
    """Put recipients into the verb's state, and their destinations right."""
    if not rows:
        return
    changes: dict[str, object] = {"state": VERBS[name].state, "lease_node": None, "lease_token": None}
    if VERBS[name].state == QUEUED:
        changes["due"] = now
    elif name == "drop":
        changes["finished"] = now
    chosen = recipients.c.id.in_([row["id"] for row in rows])
    connection.execute(sa.update(recipients).where(chosen).values(changes))
    names = {row["destination"] for row in rows}
    if name == "retry":
        end_holds(connection, names)  # it is to be tried, whatever has been found out about the place
    restore(connection, names)
    if name == "drop":
        retire(connection, {row["message_id"] for row in rows}, now)


def _leased(
    connection: sa.Connection, message_id: str, rows: Sequence[sa.RowMapping]
) -> tuple[StoredMessage, QueuedItem]:
    """A message with some of its recipients, leased for as long as this transaction takes.

    @raise UnreadableRow: one makes no sense.
    """
    row = connection.execute(sa.select(*ENVELOPE).where(messages.c.id == message_id)).mappings().one()
    message = read_message(row)
    some = tuple(map(read_recipient, rows))
    token = secrets.token_hex(16)
    chosen = recipients.c.id.in_([recipient.id for recipient in some])
    connection.execute(sa.update(recipients).where(chosen).values(lease_token=token))
    return message, QueuedItem(message, str(rows[0]["destination"]), some, token)


def _reading(connection: sa.Connection, message: StoredMessage) -> Callable[[], AsyncIterator[bytes]]:
    """How a report reads the message: here and now."""

    async def pieces() -> AsyncIterator[bytes]:
        yield message.header
        for number in range(max(1, message.chunks)):
            yield read_piece(connection, message.id, number) or b""

    return pieces
