"""The directory as rows of a database tell it, put together without any database.

Rows are as little to be trusted as a configuration, and pass the same checks: no name leads to a path outside the
mailboxes (it is a host, or one component that begins with no dot). A row that cannot be used is set aside and said; it
stops no other. Mail for a name whose rows are all set aside is not refused for good: that is our trouble.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import attrs
from zope.interface import implementer

from mailagent.config import Config, HostSettings, user_key
from mailagent.config.names import BadAlias, HostNames, Names, address_of_target
from mailagent.config.values import Target, Targets, UserName, domain, target, user_name
from mailagent.directory import verifiers
from mailagent.directory.users_file import User, address
from mailagent.directory.whitelist import Whitelist
from mailagent.envelope.address import Address, canonical_domain
from mailagent.envelope.forward import Forward
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import DirectoryUnknown, IDirectory, StorageFailed

#: A name that is nobody's: it can be no user's.
_ANYBODY = "@"


class HostRow(NamedTuple):
    """A host; C{shared}: its users are those without a host."""

    name: str
    shared: bool


class UserRow(NamedTuple):
    """A user of C{host}, C{""} for all shared hosts. C{verifier}: C{None} for who has a mailbox, and no login."""

    host: str
    name: str
    verifier: str | None
    addresses: str


class AliasRow(NamedTuple):
    """One target of an alias. The name C{""} is the catch-all."""

    host: str
    name: str
    target: str


@attrs.frozen
class Rows:
    """What the database holds at one moment; users in the order in which they were added."""

    version: int
    secret: bytes = attrs.field(repr=False)
    hosts: Sequence[HostRow] = ()
    users: Sequence[UserRow] = ()
    aliases: Sequence[AliasRow] = ()


@attrs.frozen
class Aside:
    """A row that is not used: C{what} it is, and C{why}."""

    what: str
    why: str


@attrs.frozen
class StoredUsers:
    """Who may log in (see L{mailagent.directory.logins.KnownUsers})."""

    users: Mapping[str, User]
    secret: bytes = attrs.field(repr=False)

    def find(self, name: str) -> User | None:
        """The user of that name, in whatever case."""
        return self.users.get(user_key(name))


@attrs.frozen
class Stored:
    """The directory, put together.

    @ivar broken: the host and L{user_key} of each name that only rows set aside have.
    """

    version: int
    names: Names
    logins: StoredUsers
    aside: tuple[Aside, ...]
    broken: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, rows: Rows, hostname: str) -> Stored:
        """Put rows together. Takes a while where there are many.

        @param hostname: the server's own name, canonical.
        """
        return _Assembly(rows, hostname).stored()


def full_name(host: str, name: str) -> str:
    """A user's or alias's name as it is spoken of; C{host} is C{""} for what the shared hosts have."""
    return f"{name}@{host}" if host or not name else name


def login(row: UserRow) -> User:
    """The login of a user who has one. @raise ValueError: the verifier, or an address, cannot be used."""
    verifier = verifiers.read(str(row.verifier))
    addresses = tuple(address(each) for each in row.addresses.split(",") if each)
    return User(full_name(row.host, row.name), verifier, addresses)


class _Assembly:
    """See L{Stored.of}. Each step looks at rows of one kind, and needs the steps before it."""

    def __init__(self, rows: Rows, hostname: str) -> None:
        self._rows = rows
        self._hostname = hostname
        self._aside: list[Aside] = []
        self._suspect: set[tuple[str, str]] = set()
        self._shared: dict[str, bool] = {}
        self._users: dict[str, dict[str, str]] = {"": {}}
        self._aliases: dict[str, dict[str, tuple[str, list[str]]]] = defaultdict(dict)
        self._logins: dict[str, User] = {}

    def stored(self) -> Stored:
        for host in self._rows.hosts:
            self._try(f"host {host.name}", self._host, host)
        for user in self._rows.users:
            whose = full_name(user.host, user.name)
            if self._try(f"user {whose}", self._user, user, of=user) and user.verifier is not None:
                self._try(f"login of {whose}", self._login, user)
        for alias in self._rows.aliases:
            self._try(f"alias {full_name(alias.host, alias.name)}", self._alias, alias, of=alias)
        names = self._names()
        while self._lead_all(names):
            names = self._names()
        kept = {(table, key) for table, each in names_by_table(names).items() for key in each.entries}
        logins = StoredUsers(self._logins, self._rows.secret)
        return Stored(self._rows.version, names, logins, tuple(self._aside), frozenset(self._suspect - kept))

    def _try(self, what: str, take: object, row: object, of: UserRow | AliasRow | None = None) -> bool:
        try:
            take(row)  # type: ignore[operator]
        except ValueError as error:
            self._set_aside(what, str(error), of)
            return False
        return True

    def _set_aside(self, what: str, why: str, row: UserRow | AliasRow | None = None) -> None:
        self._aside.append(Aside(what, why))
        if row is not None:
            self._suspect.add((row.host, user_key(str(row.name))))

    def _host(self, row: HostRow) -> None:
        canonical = canonical_domain(domain(row.name))
        if canonical in self._shared:
            raise ValueError("listed already")
        self._shared[canonical] = row.shared
        if not row.shared:
            self._users[canonical] = {}

    def _user(self, row: UserRow) -> None:
        key = user_key(user_name(row.name))
        if key in self._of_host(row.host):
            raise ValueError("a user of that name is listed already")
        if not row.host and self._shared.get(key) is False:
            raise ValueError("the mailbox would hold those of the host of that name")
        self._users[row.host][key] = row.name

    def _of_host(self, host: str) -> dict[str, str]:
        if host not in self._users:
            raise ValueError("there is no such host, or it shares its users with others")
        return self._users[host]

    def _login(self, row: UserRow) -> None:
        user = login(row)
        self._logins[user_key(user.name)] = user

    def _alias(self, row: AliasRow) -> None:
        users = self._of_host(row.host)
        key = user_key(user_name(row.name)) if row.name != "" else ""
        if key in users:
            raise ValueError("a user of that name is listed, and would never get mail")
        if "@" not in target(row.target) and user_key(row.target) not in users:
            raise ValueError(f"there is no user {row.target} to lead to")
        _, targets = self._aliases[row.host].setdefault(key, (row.name, []))
        if targets and not key:
            raise ValueError("a catch-all has one target")
        targets.append(row.target)

    def _names(self) -> Names:
        tables = {table: HostNames.read(table, self._settings(table)) for table in self._users}
        hosts = {host: tables["" if shared else host] for host, shared in self._shared.items()}
        return Names(self._hostname, hosts)

    def _settings(self, table: str) -> HostSettings:
        aliases = self._aliases[table]
        catch_all = aliases.get("")
        return HostSettings(
            users=tuple(map(UserName, self._users[table].values())),
            aliases={
                UserName(name): Targets(tuple(map(Target, targets))) for key, (name, targets) in aliases.items() if key
            },
            catch_all=Target(catch_all[1][0]) if catch_all else None,
        )

    def _lead_all(self, names: Names) -> bool:
        """Follow every alias, and set aside what leads nowhere or in a circle; whether there was such."""
        bad = [(*found, why) for found in self._leading(names) for why in _astray(names, found[1], found[2])]
        culled = [(table, key, self._astray_targets(names, table, key), why) for table, _, key, why in bad]
        for table, key, targets, why in culled:
            name, listed = self._aliases[table][key]
            for each in targets or list(listed):
                listed.remove(each)
                self._set_aside(f"alias {full_name(table, name)} → {each}", why, AliasRow(table, name, each))
            if not listed:
                del self._aliases[table][key]
        return bool(bad)

    def _leading(self, names: Names) -> Iterator[tuple[str, str, str]]:
        """Each alias of a host that is reached: its table, one such host, its key."""
        hosts = {entries.table: host for host, entries in names.hosts.items()}
        for table, aliases in self._aliases.items():
            if table in hosts:
                yield from ((table, hosts[table], key) for key in aliases)

    def _astray_targets(self, names: Names, table: str, key: str) -> list[str]:
        """Those targets of an alias that lead astray by themselves."""
        found = []
        for each in self._aliases[table][key][1]:
            to = address_of_target(each)
            if to is not None and names.listed(host := canonical_domain(to.domain)):
                found += [each] * any(True for _ in _astray(names, host, to.local, nobody=True))
        return found


def _astray(names: Names, host: str, name: str, nobody: bool = False) -> Iterator[str]:
    """Why a name leads nowhere, if so. @param nobody: whether to reach nobody counts."""
    try:
        if not names.lead(name or _ANYBODY, host) and nobody:
            yield "nobody gets its mail"
    except BadAlias as error:
        yield str(error)


def names_by_table(names: Names) -> dict[str, HostNames]:
    """The names of all our hosts, each table once."""
    return {each.table: each for each in names.hosts.values()}


@implementer(IDirectory)
@attrs.frozen
class StoredDirectory:
    """The L{IDirectory} of what is stored."""

    _stored: Stored
    _whitelist: Whitelist

    @classmethod
    def of(cls, stored: Stored, config: Config) -> StoredDirectory:
        """The directory of C{stored}; where mailboxes are, and which hosts are handed over, is C{config}'s."""
        return cls(stored, Whitelist.of(stored.names, config))

    def resolve(self, recipient: Address) -> tuple[Mailbox | Forward, ...]:
        """See L{IDirectory.resolve}. The answer is never a C{Deferred}."""
        if self._stored.broken and self._is_broken(recipient):
            raise StorageFailed("its rows in the directory cannot be used")
        return self._whitelist.resolve(recipient)

    def _is_broken(self, recipient: Address) -> bool:
        try:
            names = self._stored.names.hosts.get(recipient.host)
        except ValueError:
            return False
        if names is None:
            return False
        key = user_key(recipient.local)
        broken = self._stored.broken
        return (names.table, key) in broken or (names.table, key.partition("+")[0]) in broken

    def mailboxes(self) -> Iterable[Mailbox]:
        """See L{IDirectory.mailboxes}."""
        return self._whitelist.mailboxes()


@implementer(IDirectory)
@attrs.frozen
class UnknownDirectory:
    """The L{IDirectory} in force while nothing is known: it can tell of nobody whether mail is taken.

    @ivar why: nothing is.
    """

    _why: str = "the directory has not been read yet"

    def resolve(self, recipient: Address) -> tuple[Mailbox | Forward, ...]:
        """See L{IDirectory.resolve}."""
        raise DirectoryUnknown(self._why)

    def mailboxes(self) -> tuple[Mailbox, ...]:
        """See L{IDirectory.mailboxes}: none."""
        return ()
