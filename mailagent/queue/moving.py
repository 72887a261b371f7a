"""Moving a queue from one database to another, while servers work on either.

Messages go whole, with their history, some at a time: their recipients are marked at the source, where nobody takes
them in hand any more; then they are written to the target; then they are removed from the source. Each is one
transaction, so that wherever a move is cut off, the next one to the same target goes on: what is marked and not at the
target yet is written there, and what is there already is only removed from the source. In between a message can be
worked on in one place at most. What a living node has in hand is left to it, and moved when it has ended. A move whose
target is gone for good can be given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import attrs
import sqlalchemy as sa

from mailagent.database.schema import attempts, chunks, messages, recipients
from mailagent.database.transaction import transact
from mailagent.queue.alone import Taken, alone
from mailagent.queue.items import UNFINISHED
from mailagent.queue.marked import AHEAD, Target, targets, token, unmark
from mailagent.queue.store_destinations import recompute, restore
from mailagent.queue.store_nodes import living

#: Messages of one transaction, and octets where it is more than one that is written: others wait for it.
BATCH, OCTETS = 50, 1 << 20
#: What the target cannot take as it is: text that is none, or values of a wrong type in a damaged row.
_UNFIT = (sa.exc.DataError, sa.exc.StatementError, UnicodeError, TypeError, ValueError)


class MoveRefused(Exception):
    """A move that would lose mail, or deliver it twice; the text says what to do."""


@attrs.define
class Moved:
    """What came of this run: how many messages were moved, and the ids of those that cannot be."""

    count: int = 0
    unfit: list[str] = attrs.field(factory=list)


def move(source: sa.Engine, reading: sa.Engine, target: sa.Engine, name: str, wait: Callable[[int], None]) -> Moved:
    """Move all there is from one database to another, but for what comes in meanwhile. Blocks.

    @param reading: the source for those who only look: so that its server can write while messages are on their way.
    @param name: the target's, for people.
    @param wait: called with the number of messages that living nodes have in hand; returns to look again.
    @raise MoveRefused: a move to another target has not been finished, or one from the target; or one from or to
        either database is at work; or they are one database, or copies of one.
    """
    mark = Target(name, token(target))
    if mark.token == token(reading):
        raise MoveRefused("both names are of one database, or one is a copy of the other, which has that mail already")
    try:
        with alone(source) as here, alone(target) as there:
            return _Move(here, reading, there, mark, wait).run()
    except Taken:
        raise MoveRefused("another move from or to one of these databases is at work") from None


def abandon(source: sa.Engine) -> tuple[int, list[str]]:
    """Give up a move whose target is gone: what is on its way waits at the source again, as it did. Blocks.

    What the target has of it would be delivered from there as well.

    @return: how many messages, and what the targets are called.
    @raise MoveRefused: the move is at work.
    """
    try:
        with alone(source) as here:
            return transact(here, _take_back)
    except Taken:
        raise MoveRefused("a move from or to this database is at work: end it first") from None


def _take_back(source: sa.Connection) -> tuple[int, list[str]]:
    names = sorted({target.name for target in targets(source)})
    return unmark(source, sa.true()), names


@attrs.frozen
class _Move:
    """A move that is the only one. What it writes, it writes on connections that show that it still is.

    @ivar goal: written beside what is marked.
    """

    _source: sa.Connection
    _reading: sa.Engine
    _target: sa.Connection
    _goal: Target
    _wait: Callable[[int], None]

    def run(self) -> Moved:
        """See L{move}."""
        self._refuse()
        moved = Moved()
        ids: Iterator[Sequence[str]] = self._pages()
        while True:
            busy = [id_ for some in ids for id_ in self._some(some, moved)]
            if not busy:
                return moved
            self._wait(len(busy))
            ids = iter([busy[start : start + BATCH] for start in range(0, len(busy), BATCH)])

    def _refuse(self) -> None:
        with self._reading.begin() as connection:
            _finish_first("here", [each for each in targets(connection) if not each.means(self._goal)], self._goal)
        with self._target.begin():
            _finish_first("there", targets(self._target), self._goal)

    def _pages(self) -> Iterator[Sequence[str]]:
        """The ids of all messages, some at a time."""
        last = ""
        while True:
            page = sa.select(messages.c.id).where(messages.c.id > last).order_by(messages.c.id).limit(BATCH)
            with self._reading.begin() as connection:
                ids = connection.scalars(page).all()
            if not ids:
                return
            yield ids
            last = ids[-1]

    def _some(self, ids: Sequence[str], moved: Moved) -> list[str]:
        """Move some messages; returns which of them a living node has in hand."""
        free = transact(self._source, partial(self._mark, ids=ids))
        for some in self._portions(free):
            self._take(some, moved)
        return [id_ for id_ in ids if id_ not in free]

    def _portions(self, ids: Sequence[str]) -> Iterator[Sequence[str]]:
        """Messages that are moved together: no more than L{OCTETS}, or one."""
        size = sa.func.coalesce(sa.cast(messages.c.size, sa.Integer), 0)
        with self._reading.begin() as connection:
            rows = connection.execute(sa.select(messages.c.id, size).where(messages.c.id.in_(ids))).all()
        sizes = dict(map(tuple, rows))
        some, octets = list[str](), 0
        for id_ in ids:
            octets += sizes.get(id_, 0)
            if some and octets > OCTETS:
                yield some
                some, octets = [], sizes.get(id_, 0)
            some.append(id_)
        if some:
            yield some

    def _take(self, ids: Sequence[str], moved: Moved) -> None:
        """Move messages that are marked."""
        try:
            there = self._write(ids)
        except _UNFIT as error:
            if isinstance(error, sa.exc.DBAPIError) and not isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
                raise  # the database's trouble, not the message's
            if len(ids) > 1:
                for id_ in ids:
                    self._take([id_], moved)
                return
            there = self._there(ids)
            if not there:
                transact(self._source, partial(unmark, which=recipients.c.message_id.in_(ids)))
                moved.unfit += ids
                return
        transact(self._source, partial(_remove, ids=ids))
        moved.count += len(there)

    def _mark(self, connection: sa.Connection, ids: Sequence[str]) -> list[str]:
        """Have nobody take these messages in hand any more; those that are in a living node's are left out."""
        columns = (recipients.c.message_id, recipients.c.lease_token, recipients.c.lease_node)
        theirs = sa.select(*columns).where(recipients.c.message_id.in_(ids)).order_by(recipients.c.id)
        rows, alive = connection.execute(theirs.with_for_update()).all(), living(connection)
        busy = {row.message_id for row in rows if row.lease_token is not None and row.lease_node in alive}
        free = [id_ for id_ in ids if id_ not in busy]
        waiting = sa.and_(recipients.c.message_id.in_(free), recipients.c.state.in_(UNFINISHED))
        marked = sa.update(recipients).where(waiting).returning(recipients.c.destination)
        changes = {"state": sa.literal(AHEAD) + recipients.c.state, "lease_node": str(self._goal), "lease_token": None}
        recompute(connection, set(connection.scalars(marked.values(changes))))
        return free

    def _write(self, ids: Sequence[str]) -> set[str]:
        """Write messages to the target, unless they are there; returns which are there now."""
        there = self._there(ids)
        return there | transact(self._target, partial(self._copy, ids=[id_ for id_ in ids if id_ not in there]))

    def _copy(self, target: sa.Connection, ids: Sequence[str]) -> set[str]:
        with self._reading.begin() as source:
            return {id_ for id_ in ids if _copy(source, target, id_)}

    def _there(self, ids: Sequence[str]) -> set[str]:
        """Those of these messages that are at the target, and must not wait at the source as well."""
        with self._target.begin():
            return set(self._target.scalars(sa.select(messages.c.id).where(messages.c.id.in_(ids))))


def _finish_first(place: str, others: Iterable[Target], goal: Target) -> None:
    """Refuse what would take mail to two places.

    @param others: where mail in that place is on its way to, and must not be.
    """
    if other := next(iter(others), None):
        again = ", which is another database than the one of that name now" if other.name == goal.name else ""
        raise MoveRefused(f"what waits {place} is on its way to {other.name}{again}: finish that move, or --abandon it")


def _copy(source: sa.Connection, target: sa.Connection, id_: str) -> bool:
    """A message, with its content, its recipients and their history; returns whether there is one still."""
    row = source.execute(sa.select(messages).where(messages.c.id == id_)).mappings().one_or_none()
    if row is None:  # it had ended, and was swept away
        return False
    target.execute(sa.insert(messages), dict(row))
    pieces = sa.select(chunks).where(chunks.c.message_id == id_).order_by(chunks.c.number)
    for number in source.scalars(pieces.with_only_columns(chunks.c.number)).all():
        piece = source.execute(pieces.where(chunks.c.number == number)).mappings().one()
        target.execute(sa.insert(chunks), dict(piece))
    theirs = sa.select(recipients).where(recipients.c.message_id == id_).order_by(recipients.c.id)
    rows = source.execute(theirs).mappings().all()
    if rows:
        _copy_recipients(source, target, rows)
    return True


def _copy_recipients(source: sa.Connection, target: sa.Connection, rows: Sequence[sa.RowMapping]) -> None:
    """Recipients, with their history."""
    adding = sa.insert(recipients).returning(recipients.c.id, sort_by_parameter_order=True)
    numbers = target.scalars(adding, [_unmarked(row) for row in rows]).all()
    new = dict(zip([row["id"] for row in rows], numbers, strict=True))
    tried = sa.select(attempts).where(attempts.c.recipient_id.in_(list(new))).order_by(attempts.c.id)
    history = [
        {**_without_id(row), "recipient_id": new[row["recipient_id"]]} for row in source.execute(tried).mappings()
    ]
    if history:
        target.execute(sa.insert(attempts), history)
    restore(target, {row["destination"] for row in rows})


def _without_id(row: sa.RowMapping) -> dict[str, object]:
    """A row for another table, which gives it an id of its own."""
    return {name: value for name, value in row.items() if name != "id"}


def _unmarked(row: sa.RowMapping) -> dict[str, object]:
    """A recipient's row as it was before it was marked."""
    return {**_without_id(row), "state": row["state"].removeprefix(AHEAD), "lease_node": None, "lease_token": None}


def _remove(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Forget messages, which are at the target."""
    connection.execute(sa.delete(chunks).where(chunks.c.message_id.in_(ids)))
    connection.execute(sa.delete(messages).where(messages.c.id.in_(ids)))
