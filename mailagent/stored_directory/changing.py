"""Changes of the directory in the database, each whole or not at all.

A change is made, the directory is put together from what is there then, and if a row is set aside that was not before,
nothing is kept; a login is read back as it was written. So nothing can be written that servers would not use, and
nobody be removed to whom an alias leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from mailagent.config import user_key
from mailagent.config.values import domain, user_name
from mailagent.database import schema
from mailagent.directory.stored import Stored, UserRow, full_name, login
from mailagent.directory.users_file import LoginExists, NoSuchLogin, address
from mailagent.envelope.address import canonical_domain
from mailagent.stored_directory.rows import read

#: Aliases that are named where they are in the way.
_MOST_NAMED = 5

#: What is done to the directory, in a transaction.
Change = Callable[[sa.Connection], None]


class Refused(ValueError):
    """The change cannot be made; the text says why, in a line."""


def make(connection: sa.Connection, hostname: str, change: Change) -> None:
    """Make a change; if it cannot be, the transaction must not be committed.

    @param hostname: the server's own name, canonical.
    @raise Refused: what it would lead to cannot be used.
    @raise LoginExists: there is such a user.
    @raise NoSuchLogin: there is no such user.
    """
    directory = schema.directory
    # First, so that changes wait for each other.
    connection.execute(sa.update(directory).values(version=directory.c.version + 1))
    before = set(Stored.of(read(connection, logins=False), hostname).aside)
    change(connection)
    after = Stored.of(read(connection, logins=False), hostname).aside
    for aside in after:
        if aside not in before:
            raise Refused(f"{aside.what}: {aside.why}")


def place(name: str) -> tuple[str, str]:
    """The host, canonical or C{""}, and the name there that C{name} stands for. @raise Refused: no domain's name."""
    local, at, host = name.rpartition("@")
    if not at or not host:
        return "", local if at else name
    return _host(host), local


def _host(name: str) -> str:
    try:
        return canonical_domain(domain(name))
    except ValueError as error:
        raise Refused(f"{name}: {error}") from None


def add_host(name: str, shared: bool) -> Change:
    """Take mail for a host. C{shared}: its users are those without a host; else it has its own."""
    host = _host(name)

    def change(connection: sa.Connection) -> None:
        if _count(connection, schema.hosts, schema.hosts.c.name == host):
            raise Refused(f"{host} is there already")
        connection.execute(sa.insert(schema.hosts).values(name=host, shared=shared))

    return change


def remove_host(name: str) -> Change:
    """Take mail for a host no more. It must have no names of its own."""
    host = _host(name)

    def change(connection: sa.Connection) -> None:
        for table, one, many in ((schema.users, "user", "users"), (schema.aliases, "alias", "targets of aliases")):
            if count := _count(connection, table, table.c.host == host):
                what = f"1 {one}, remove it first" if count == 1 else f"{count} {many}, remove them first"
                raise Refused(f"{host} has {what}")
        if not _delete(connection, schema.hosts, schema.hosts.c.name == host):
            raise Refused(f"no host {host!r} in the database")

    return change


def add_user(name: str, verifier: str | None, addresses: Sequence[str] = ()) -> Change:
    """Give somebody a mailbox, and with a C{verifier} a login."""
    host, local = place(name)
    try:
        user_name(local)
    except ValueError as error:
        raise Refused(f"{name}: {error}") from None
    listed = ",".join(map(_address, addresses))

    def change(connection: sa.Connection) -> None:
        if _count(connection, schema.users, _named(schema.users, host, local)):
            raise LoginExists(name)
        values = {"host": host, "name": local, "key": user_key(local)}
        connection.execute(sa.insert(schema.users).values(**values, verifier=verifier, addresses=listed))
        _check_login(connection, host, local)

    return change


def set_password(name: str, verifier: str) -> Change:
    """Give a user another password, or a first one."""
    host, local = place(name)

    def change(connection: sa.Connection) -> None:
        found = sa.update(schema.users).where(_named(schema.users, host, local)).values(verifier=verifier)
        if not connection.execute(found).rowcount:
            raise NoSuchLogin(name)
        _check_login(connection, host, local)

    return change


def remove_user(name: str) -> Change:
    """Let somebody log in no more, nor get mail. What is in the mailbox stays there."""
    host, local = place(name)

    def change(connection: sa.Connection) -> None:
        if not _delete(connection, schema.users, _named(schema.users, host, local)):
            raise NoSuchLogin(name)
        if leading := _leading_to(connection, host, local):
            more = f" and {len(leading) - _MOST_NAMED} more" if len(leading) > _MOST_NAMED else ""
            commands = ", ".join(f"mailagent alias remove {each}" for each in leading[:_MOST_NAMED])
            raise Refused(f"{name} is where aliases lead, remove them first: {commands}{more}")

    return change


def add_alias(name: str, targets: Sequence[str]) -> Change:
    """Have a name lead to targets, besides those to which it leads already."""
    host, local = place(name)

    def change(connection: sa.Connection) -> None:
        table = schema.aliases
        for target in targets:
            if _count(connection, table, _named(table, host, local) & (table.c.target == target)):
                raise Refused(f"{name} leads to {target} already")
            values = {"host": host, "name": local, "key": user_key(local), "target": target}
            connection.execute(sa.insert(table).values(**values))

    return change


def remove_alias(name: str, targets: Sequence[str] = ()) -> Change:
    """Have a name lead to these targets no more; without any, to none."""
    host, local = place(name)

    def change(connection: sa.Connection) -> None:
        table = schema.aliases
        named = _named(table, host, local)
        for target in targets:
            if not _delete(connection, table, named & (table.c.target == target)):
                raise Refused(f"{name} does not lead to {target}")
        if not targets and not _delete(connection, table, named):
            raise Refused(f"no alias {name!r} in the database")

    return change


def _address(text: str) -> str:
    """An address as it stands among others. @raise Refused: it is none, or would be read as several."""
    if "," in text:
        raise Refused(f"{text}: an address with a comma cannot be one of a user's")
    try:
        address(text)
    except ValueError as error:
        raise Refused(f"{text}: {error}") from None
    return text


def _check_login(connection: sa.Connection, host: str, local: str) -> None:
    """See that servers would use a user's login, if there is one."""
    users = schema.users.c
    found = sa.select(users.host, users.name, users.verifier, users.addresses).where(_named(schema.users, host, local))
    row = UserRow(*connection.execute(found).one())
    if row.verifier is not None:
        try:
            login(row)
        except ValueError as error:
            raise Refused(f"login of {full_name(host, row.name)}: {error}") from None


def _leading_to(connection: sa.Connection, host: str, local: str) -> list[str]:
    """The aliases that have a user for a target, each with that target."""
    aliases = schema.aliases.c
    rows = connection.execute(sa.select(aliases.name, aliases.target).where(aliases.host == host).order_by(aliases.id))
    return [f"{full_name(host, name)} {target}" for name, target in rows if user_key(target) == user_key(local)]


def _named(table: sa.Table, host: str, local: str) -> sa.ColumnElement[bool]:
    return (table.c.host == host) & (table.c.key == user_key(local))


def _count(connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    return int(connection.scalar(sa.select(sa.func.count()).select_from(table).where(condition)) or 0)


def _delete(connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.delete(table).where(condition)).rowcount
