"""The directory's rows, read from the database as they were at one moment."""

from __future__ import annotations

import sqlalchemy as sa

from mailagent.database import schema
from mailagent.directory.stored import AliasRow, HostRow, Rows, UserRow

#: How often it is read anew because somebody changes it meanwhile.
_MOST_READINGS = 5


def version(connection: sa.Connection) -> int:
    """What each change makes greater."""
    return int(connection.scalar(sa.select(schema.directory.c.version)) or 0)


def read(connection: sa.Connection, logins: bool = True) -> Rows:
    """All rows.

    Each statement may see what has been committed since the one before; so what was changed meanwhile is read again,
    and at last given the older version, by which it is soon looked at again.

    @param logins: whether verifiers are wanted; without them, nobody has a login.
    """
    for _ in range(_MOST_READINGS):
        found = _read(connection, logins)
        if version(connection) == found.version:
            break
    return found


def _read(connection: sa.Connection, logins: bool) -> Rows:
    before, secret = connection.execute(sa.select(schema.directory.c.version, schema.directory.c.secret)).one()
    hosts, users, aliases = schema.hosts.c, schema.users.c, schema.aliases.c
    verifier = users.verifier if logins else sa.null()
    return Rows(
        before,
        secret,
        [HostRow(*row) for row in connection.execute(sa.select(hosts.name, hosts.shared).order_by(hosts.name))],
        [
            UserRow(*row)
            for row in connection.execute(
                sa.select(users.host, users.name, verifier, users.addresses).order_by(users.id)
            )
        ],
        [
            AliasRow(*row)
            for row in connection.execute(sa.select(aliases.host, aliases.name, aliases.target).order_by(aliases.id))
        ],
    )
