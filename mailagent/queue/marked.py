"""What is on its way to another database: marked in this one, where nobody takes it in hand any more.

A marked recipient's state is what it was, with C{moving:} ahead of it. Its C{lease_node} says where it goes: the token
by which that database is known from others (C{identity}), a space, and the name it has for people. Marks of before
there were tokens have the name alone.
"""

from __future__ import annotations

import re

import attrs
import sqlalchemy as sa

from mailagent.database.schema import identity, recipients
from mailagent.queue.store_destinations import restore

#: On its way to another database, as the state is called where a person asks.
MOVING = "moving"
#: A marked recipient's state is this, ahead of what it was.
AHEAD = f"{MOVING}:"
MARKED = recipients.c.state.startswith(AHEAD)
_WITH_TOKEN = re.compile("([0-9a-f]+) (.*)", re.DOTALL)


@attrs.frozen
class Target:
    """A database that mail is on its way to; as text, what is written beside what is marked.

    @ivar name: what people call it.
    @ivar token: by which it is known from all others, whatever they are called; C{""} in a mark that has none.
    """

    name: str
    token: str = ""

    @classmethod
    def read(cls, text: object) -> Target:
        """That of a mark."""
        found = _WITH_TOKEN.fullmatch(str(text))
        return cls(found[2], found[1]) if found else cls(str(text))

    def __str__(self) -> str:
        return f"{self.token} {self.name}".lstrip()

    def means(self, other: Target) -> bool:
        """Whether a mark with this target means C{other}, whose token is known."""
        return self.token == other.token if self.token else self.name == other.name


def token(engine: sa.Engine) -> str:
    """By which a database is known from all others, but for its copies."""
    with engine.begin() as connection:
        found: str = connection.execute(sa.select(identity.c.token)).scalar_one()
    return found


def targets(connection: sa.Connection) -> dict[Target, int]:
    """Where what is marked goes, and how many recipients that is."""
    found = sa.select(recipients.c.lease_node, sa.func.count()).where(MARKED).group_by(recipients.c.lease_node)
    return {Target.read(text): number for text, number in connection.execute(found)}


def target_name(row: sa.RowMapping) -> str:
    """What the database is called that a recipient is on its way to; C{""} where it waits, or has ended, here."""
    return Target.read(row["lease_node"]).name if str(row["state"]).startswith(AHEAD) else ""


def unmark(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    """Have marked recipients wait here, as they did, after all; returns how many messages' that were."""
    back = {"state": sa.func.substr(recipients.c.state, len(AHEAD) + 1), "lease_node": None}
    unmarking = sa.update(recipients).where(MARKED, which).values(back)
    found = connection.execute(unmarking.returning(recipients.c.destination, recipients.c.message_id)).all()
    restore(connection, {row.destination for row in found})
    return len({row.message_id for row in found})
