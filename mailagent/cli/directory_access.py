"""The directory in the database, opened for a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import attrs
import click
import sqlalchemy as sa

from mailagent.cli.database import ConfiguredDatabase
from mailagent.cli.options import configuration
from mailagent.config import Config
from mailagent.config.values import DATABASE
from mailagent.database import schema
from mailagent.database.transaction import transact
from mailagent.directory import verifiers
from mailagent.directory.stored import Rows, UserRow, full_name
from mailagent.directory.users_file import LoginExists, NoSuchLogin, address
from mailagent.directory.verifiers import BadVerifier, ScramVerifier
from mailagent.stored_directory import changing
from mailagent.stored_directory.changing import Change
from mailagent.stored_directory.rows import read

_EMPTY = (
    "no host is in the directory: until there is one (mailagent host add), mail to everybody, elsewhere too, is put "
    "off, and what is queued waits"
)


@attrs.frozen
class Known:
    """A user as C{mailagent user list} shows one; C{scram} is C{None} for who has no login."""

    name: str
    scram: bool | None
    addresses: Sequence[str]


class _Undone(Exception):
    """Leaves a transaction that was only to show whether a change is possible."""


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Say why a change of users is refused.

    @param where: they are: the file, or C{"the database"}.
    @raise click.ClickException: it is.
    """
    try:
        yield
    except LoginExists as error:
        raise click.ClickException(f"{error} is there already; mailagent user passwd changes the password") from None
    except NoSuchLogin as error:
        raise click.ClickException(f"no user {error.args[0]!r} in {where}") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None


class DirectoryInDatabase:
    """See the module.

    @param config: the configuration file, or C{None} for where the server finds it.
    """

    def __init__(self, config: str | None) -> None:
        given = configuration(config).directory.url
        self._database = ConfiguredDatabase(config, None, "directory.url" if given else "queue.url")

    def change(self, planned: Callable[[], Change], keep: bool = True) -> None:
        """Make a change, or only see whether it is possible.

        @raise click.ClickException: it is not.
        """
        with suppress(_Undone), refusing("the database"):
            change = planned()
            with self._database.writing() as engine, engine.connect() as connection:
                transact(connection, lambda connection: self._make(connection, change, keep))

    def _make(self, connection: sa.Connection, change: Change, keep: bool) -> None:
        changing.make(connection, self._database.config.hostname, change)
        if not keep:
            raise _Undone

    def rows(self) -> Rows:
        """All that is there."""
        with self._database.reading() as connection:
            return read(connection)

    def tell_if_empty(self) -> None:
        """Say what it means that there is no host, if so."""
        with self._database.reading() as connection:
            host = connection.scalar(sa.select(schema.hosts.c.name).limit(1))
        if host is None:
            click.echo(_EMPTY, err=True)

    # What can be done with users in a file as well

    def add(self, name: str, verifier: ScramVerifier | None, addresses: Sequence[str], keep: bool = True) -> None:
        """Give somebody a mailbox, and with a verifier a login."""

        def planned() -> Change:
            for each in addresses:
                address(each)
            return changing.add_user(name, None if verifier is None else str(verifier), addresses)

        self.change(planned, keep)
        if keep:
            self.tell_if_empty()

    def change_password(self, name: str, verifier: ScramVerifier, keep: bool = True) -> None:
        """Give a user another password."""
        self.change(lambda: changing.set_password(name, str(verifier)), keep)

    def remove(self, name: str) -> None:
        """Take a user's login and mailbox away."""
        self.change(lambda: changing.remove_user(name))

    def users(self) -> list[Known]:
        """Everybody."""
        return [_known(row) for row in self.rows().users]


def _known(row: UserRow) -> Known:
    try:
        scram = None if row.verifier is None else isinstance(verifiers.read(row.verifier), ScramVerifier)
    except BadVerifier:
        scram = False
    return Known(full_name(row.host, row.name), scram, [each for each in row.addresses.split(",") if each])


def database_directory(config: str | None, what: str) -> DirectoryInDatabase:
    """The directory in the database, to be changed.

    @param what: is to be changed, for who has it in the configuration.
    @raise click.ClickException: it is there; the text says where to edit.
    """
    found = configuration(config)
    if not in_database(found):
        raise click.ClickException(
            f"{what} are in the configuration: edit [whitelist] or [hosts] in {found.source}, then mailagent reload "
            f'(this command is for directory.source = "{DATABASE}")'
        )
    return DirectoryInDatabase(config)


def in_database(config: Config) -> bool:
    """Whether the directory is in the database."""
    return config.directory.source == DATABASE
