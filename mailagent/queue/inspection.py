"""Looking into the queue: what waits, what has become of a message, how much of what there is.

Functions of a connection that reads. What they return is as it stands in the rows, so that a damaged one can be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from mailagent.database.schema import attempts, chunks, destinations, holds, messages, nodes, recipients
from mailagent.queue.items import UNFINISHED
from mailagent.queue.marked import MARKED, MOVING, target_name, targets
from mailagent.queue.selection import ACTIVE, Selection
from mailagent.queue.store_content import read_piece

#: The ages that are counted apart, in seconds.
AGES = (3600.0, 4 * 3600.0, 86400.0, 5 * 86400.0)
#: Octets of a message that are searched for the end of its header.
_MOST_HEADER = 1024 * 1024


class NoSuchMessage(LookupError):
    """There is none of that id: it never came, or its history was kept long enough."""


@attrs.frozen
class Entry:
    """One recipient of a message. Moments are seconds since the epoch.

    @ivar id: the message's.
    @ivar number: the recipient's own.
    @ivar due: when it is tried next; C{None} where it will not be.
    @ivar reply: what the last attempt came to, C{""} before the first; C{host}, whose reply that was.
    @ivar target: the database that it is on its way to, where that is its C{state}.
    """

    id: str
    number: int
    state: str
    sender: str
    recipient: str
    destination: str
    size: int | None
    created: float
    due: float | None
    attempts: int
    finished: float | None
    reply: str
    host: str
    target: str = ""


@attrs.frozen
class Try:
    """One attempt at one C{recipient}."""

    recipient: str
    at: float
    seconds: float
    host: str
    address: str
    tls: str
    reply: str


@attrs.frozen
class Told:
    """All that is known of a message.

    @ivar header: as it will be sent; C{None} once its content is gone.
    """

    id: str
    created: float
    sender: str
    report_to: str | None
    login: str
    size: int | None
    envelope_id: str | None
    entries: tuple[Entry, ...]
    tries: tuple[Try, ...]
    trace: bytes
    header: bytes | None


@attrs.frozen
class Held:
    """A destination where nothing is tried before C{until}.

    @ivar node: by which node, where others may still try; else C{""}.
    """

    name: str
    until: float
    reason: str
    node: str = ""


@attrs.frozen
class Statistics:
    """How much of what: recipients by state; unfinished ones by destination, the fullest first, and by age (in seconds,
    at least, the youngest first); when the oldest of them came; destinations held; recipients on their way to other
    databases, by those."""

    states: dict[str, int]
    destinations: dict[str, int]
    ages: dict[float, int]
    oldest: float | None
    held: tuple[Held, ...]
    moving: dict[str, int]


_STATE = sa.case((recipients.c.lease_token.is_not(None), ACTIVE), (MARKED, MOVING), else_=recipients.c.state).label(
    "shown_state"
)
_LISTED = sa.select(recipients, _STATE, messages.c.reverse_path, messages.c.size).join(
    messages, messages.c.id == recipients.c.message_id
)


def entries(connection: sa.Connection, selection: Selection, now: float) -> Iterator[Entry]:
    """What is meant, in the order in which it came; not all in memory at once."""
    for condition in selection.parts(now):
        found = connection.execution_options(yield_per=1000).execute(_LISTED.where(condition).order_by(recipients.c.id))
        yield from map(_entry, found.mappings())


def numbers(connection: sa.Connection, selection: Selection, now: float) -> list[int]:
    """The numbers of the recipients that are meant, those of a message together."""
    joined = sa.select(recipients.c.id).join(messages, messages.c.id == recipients.c.message_id)
    found: list[int] = []
    for condition in selection.parts(now):
        found += connection.scalars(joined.where(condition).order_by(recipients.c.message_id, recipients.c.id))
    return found


def tell(connection: sa.Connection, message_id: str) -> Told:
    """All about one message.

    @raise NoSuchMessage: there is none.
    """
    row = _message(connection, message_id)
    found = connection.execute(_LISTED.where(recipients.c.message_id == message_id).order_by(recipients.c.id))
    tried = sa.select(attempts, recipients.c.address.label("recipient")).join(
        recipients, recipients.c.id == attempts.c.recipient_id
    )
    tried = tried.where(recipients.c.message_id == message_id).order_by(attempts.c.at, attempts.c.id)
    return Told(
        row["id"],
        row["created"],
        row["reverse_path"],
        row["report_to"],
        row["login"],
        row["size"],
        row["envelope_id"],
        tuple(map(_entry, found.mappings())),
        tuple(map(_try, connection.execute(tried).mappings())),
        row["header"],
        _header(connection, row),
    )


def raw(connection: sa.Connection, message_id: str) -> Iterator[bytes]:
    """A message as it will be sent, in pieces; line ends LF.

    @raise NoSuchMessage: there is none, or its content is gone.
    """
    row = _message(connection, message_id)
    if not _has_content(connection, row):
        raise NoSuchMessage(f"the content of {message_id} is no longer kept: nobody waits for it")
    yield row["header"]
    for number in range(max(1, row["chunks"])):
        yield read_piece(connection, message_id, number) or b""


def statistics(connection: sa.Connection, now: float) -> Statistics:
    """How much of what there is. Reads all of it."""
    waits = sa.or_(recipients.c.state.in_(UNFINISHED), MARKED)
    states = connection.execute(sa.select(_STATE, sa.func.count()).select_from(recipients).group_by(_STATE))
    places = sa.select(recipients.c.destination, sa.func.count().label("many")).where(waits)
    places = places.group_by(recipients.c.destination).order_by(sa.desc("many"), recipients.c.destination)
    bounds = (0.0, *AGES)
    counted = [
        sa.func.count().filter(recipients.c.created <= now - least, recipients.c.created > now - most)
        for least, most in zip(bounds, (*AGES, now + 1), strict=True)
    ]
    counted[0] = sa.func.count().filter(recipients.c.created > now - AGES[0])  # clocks go back sometimes
    ages = connection.execute(sa.select(*counted).select_from(recipients).where(waits)).one()
    return Statistics(
        {str(row[0]): row[1] for row in states},
        {str(row[0]): row[1] for row in connection.execute(places)},
        dict(zip(bounds, ages, strict=True)),
        connection.scalar(sa.select(sa.func.min(recipients.c.created)).where(waits)),
        tuple(_held(connection, now)),
        _moving(connection),
    )


def _held(connection: sa.Connection, now: float) -> Iterator[Held]:
    """What is held by all, then what is held by some."""
    by_all = sa.select(destinations).where(destinations.c.held_until > now).order_by(destinations.c.name)
    for row in connection.execute(by_all):
        yield Held(row.name, row.held_until, row.reason)
    longer = sa.and_(destinations.c.name == holds.c.destination, destinations.c.held_until < holds.c.until)
    some = sa.select(holds, nodes.c.name).join(nodes, nodes.c.id == holds.c.node).join(destinations, longer)
    some = some.where(holds.c.until > now).order_by(holds.c.destination, nodes.c.name)
    for row in connection.execute(some):
        yield Held(row.destination, row.until, row.reason, row.name)


def _moving(connection: sa.Connection) -> dict[str, int]:
    """Recipients on their way to other databases, by what those are called."""
    counts = Counter[str]()
    for target, count in targets(connection).items():
        counts[target.name] += count
    return dict(counts)


def _message(connection: sa.Connection, message_id: str) -> sa.RowMapping:
    columns = [column for column in messages.c if column.name != "body"]
    row = connection.execute(sa.select(*columns).where(messages.c.id == message_id)).mappings().first()
    if row is None:
        raise NoSuchMessage(f"no message {message_id}: it never came, or its history is no longer kept")
    return row


def _has_content(connection: sa.Connection, row: sa.RowMapping) -> bool:
    found = sa.select(sa.literal(1)).where(
        sa.or_(
            sa.exists().where(messages.c.id == row["id"], messages.c.body.is_not(None)),
            sa.exists().where(chunks.c.message_id == row["id"]),
        )
    )
    return connection.scalar(found) is not None


def _header(connection: sa.Connection, row: sa.RowMapping) -> bytes | None:
    if not _has_content(connection, row):
        return None
    octets = row["header"]
    for number in range(max(1, row["chunks"])):
        octets += read_piece(connection, row["id"], number) or b""
        if b"\n\n" in octets or len(octets) > _MOST_HEADER:
            break
    header, empty_line, _ = bytes(octets).partition(b"\n\n")
    return header + b"\n" if empty_line else header


def _entry(row: sa.RowMapping) -> Entry:
    return Entry(
        row["message_id"],
        row["id"],
        row["shown_state"],
        row["reverse_path"],
        row["address"],
        row["destination"],
        row["size"],
        row["created"],
        row["due"] if row["shown_state"] == "queued" else None,
        row["attempts"],
        row["finished"],
        _reply(row["reply_code"], row["reply_status"], row["reply_text"]),
        row["host"],
        target_name(row),
    )


def _try(row: sa.RowMapping) -> Try:
    reply = _reply(row["code"], row["status"], row["text"])
    return Try(row["recipient"], row["at"], row["seconds"], row["host"], row["address"], row["tls"], reply)


def _reply(*parts: object) -> str:
    words: Sequence[Any] = [part for part in parts if part not in (None, "")]
    return " ".join(" ".join(map(str, words)).split())
