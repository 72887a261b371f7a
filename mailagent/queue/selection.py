"""Which recipients a person means: those in the queue that some conditions hold for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import sqlalchemy as sa

from mailagent.database.schema import messages, recipients
from mailagent.queue.items import DELIVERED, DROPPED, EXPIRED, FAILED, HELD, QUARANTINED, QUEUED
from mailagent.queue.marked import MARKED, MOVING

#: In delivery now, as it is called where a person asks: C{queued}, under a lease.
ACTIVE = "active"
STATES = (QUEUED, ACTIVE, HELD, QUARANTINED, MOVING, DELIVERED, FAILED, EXPIRED, DROPPED)
#: Ids asked for in one statement.
_SOME = 500


@attrs.frozen
class Selection:
    """Conditions, all of which hold; those not given leave the choice open.

    @ivar ids: of messages.
    @ivar sender: the reverse-path, C{""} for the null one; C{@domain} for all of a domain.
    @ivar recipient: an address; C{@domain} likewise.
    @ivar domain: where it goes, in canonical form.
    @ivar states: of L{STATES}.
    @ivar age: accepted at least so many seconds ago.
    """

    ids: Sequence[str] = ()
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    states: Sequence[str] = ()
    age: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it means everything."""
        return self == Selection()

    def among(self, states: Sequence[str]) -> Selection:
        """The same among these states only, unless states or messages are named already."""
        return self if self.states or self.ids else attrs.evolve(self, states=tuple(states))

    def parts(self, now: float) -> Iterator[sa.ColumnElement[bool]]:
        """The condition on C{recipients} joined with C{messages}; in parts, where there are many ids.

        @param now: seconds since the epoch.
        """
        common = list(self._conditions(now))
        for start in range(0, max(len(self.ids), 1), _SOME):
            some = [recipients.c.message_id.in_(self.ids[start : start + _SOME])] if self.ids else []
            yield sa.and_(sa.true(), *common, *some)

    def _conditions(self, now: float) -> Iterator[sa.ColumnElement[bool]]:
        if self.sender is not None:
            yield _is_address(messages.c.reverse_path, self.sender)
        if self.recipient is not None:
            yield _is_address(recipients.c.address, self.recipient)
        if self.domain is not None:
            yield recipients.c.destination == self.domain
        if self.states:
            shown = {ACTIVE: recipients.c.lease_token.is_not(None), MOVING: MARKED}
            others = [condition for state, condition in shown.items() if state in self.states]
            yield sa.or_(recipients.c.state.in_(self.states), *others)
        if self.age is not None:
            yield recipients.c.created <= now - self.age


def _is_address(column: sa.Column[str], wanted: str) -> sa.ColumnElement[bool]:
    """Whether a column has that address, or one of that domain; letter case does not count."""
    lower = sa.func.lower(column)
    if wanted.startswith("@"):
        return lower.endswith(wanted.lower(), autoescape=True)
    return lower == wanted.lower()
