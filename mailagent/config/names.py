"""Where the names of our hosts lead, as configuration lists them: to users, and by aliases to addresses elsewhere.

A name is looked up as it is, then without its C{+tag}, then as the catch-all. An alias's target without C{@} is one of
the users beside it. One with C{@} is an address: at one of our hosts it is looked up there in turn, anywhere else mail
is forwarded to it. Nothing here depends on anything but the settings; the check has seen every alias led through, so
that a directory never meets a L{BadAlias}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import attrs

from mailagent.config.schema import Config, HostSettings
from mailagent.config.values import user_key
from mailagent.envelope.address import Address, canonical_domain
from mailagent.envelope.forward import Forward

#: Always accepted at our hosts, without a domain and at the server's own name (RFC 5321 section 4.5.1).
POSTMASTER = "postmaster"
#: Targets that one name may lead to, counted along every way; and aliases one behind the other.
MOST_TARGETS = 1000
MOST_LEVELS = 10


class BadAlias(ValueError):
    """A name leads nowhere, in a circle, too far or to too many. The text says which."""


@attrs.frozen
class LocalUser:
    """A user as C{address}ed. C{table}: the host in whose table they are listed, canonical; C{""} for the whitelist."""

    address: Address
    table: str


def address_of_target(target: str) -> Address | None:
    """A target as the address it is; C{None} where it is a user's name."""
    local, at, host = target.rpartition("@")
    return Address(local, host) if at else None


@attrs.frozen
class _Entry:
    """What a name stands for: C{spelled} as configured, its C{targets}; C{alias} unless it is a user."""

    spelled: str
    targets: tuple[str, ...]
    alias: bool = True


@attrs.frozen
class HostNames:
    """The names of one C{table} (see L{LocalUser}): what each L{user_key} stands for."""

    table: str
    settings: HostSettings
    entries: Mapping[str, _Entry]

    @classmethod
    def read(cls, table: str, settings: HostSettings) -> HostNames:
        """The names in C{settings}."""
        entries = {user_key(user): _Entry(user, (user,), alias=False) for user in settings.users}
        spelled = {key: entry.spelled for key, entry in entries.items()}
        for alias, targets in settings.aliases.items():
            entries[user_key(alias)] = _Entry(alias, tuple(spelled.get(user_key(t), t) for t in targets))
        if (responsible := settings.postmaster or next(iter(settings.users), None)) is not None:
            user = spelled.get(user_key(responsible), responsible)
            entries.setdefault(POSTMASTER, _Entry(POSTMASTER, (user,)))
        return cls(table, settings, entries)

    def find(self, local: str) -> _Entry | None:
        """What a local part stands for; C{None} where nobody gets its mail."""
        key = user_key(local)
        found = self.entries.get(key) or self.entries.get(key.partition("+")[0])
        if found is None and self.settings.catch_all is not None:
            target = self.entries.get(user_key(self.settings.catch_all))
            return _Entry(local, target.targets if target else (self.settings.catch_all,))
        return found

    def owner(self, alias: str) -> str:
        """Who hears of an alias's failures: C{owner-alias} if there is such a name, else the postmaster."""
        found = self.entries.get(user_key(f"owner-{alias}"))
        return found.spelled if found else POSTMASTER


@attrs.frozen
class Names:
    """The names of all our hosts.

    @ivar hosts: by the host's canonical form.
    """

    hostname: str
    hosts: Mapping[str, HostNames]

    @classmethod
    def of(cls, config: Config) -> Names:
        """The names that a configuration lists."""
        hosts: dict[str, HostNames] = {}
        if config.whitelist.users:
            shared = HostNames.read("", config.whitelist)
            hosts = {canonical_domain(host): shared for host in config.whitelist.hosts}
        for host, settings in config.hosts.items():
            canonical = canonical_domain(host)
            hosts[canonical] = HostNames.read(canonical, settings)
        return cls(canonical_domain(config.hostname), hosts)

    def listed(self, host: str) -> bool:
        """Whether mail for a host, in canonical form, is ours to take or to refuse."""
        return host in self.hosts or host in ("", self.hostname)

    def lead(self, local: str, host: str) -> tuple[LocalUser | Forward, ...]:
        """Whom mail for a name at a listed host reaches, each once; nobody where there is no such name.

        @param host: in canonical form.
        @raise BadAlias: never, for a checked configuration.
        """
        found: dict[object, LocalUser | Forward] = {}
        ways = self._follow(local, host, ())
        for end in islice(ways, MOST_TARGETS):
            if isinstance(end, LocalUser):  # hosts that share users share their mailboxes
                found.setdefault((end.table, end.address.local), end)
            else:
                found.setdefault((end.address.local, canonical_domain(end.address.domain)), end)
        if next(ways, None) is not None:
            raise BadAlias(f"leads to more than {MOST_TARGETS} targets")
        return tuple(found.values())

    def _follow(self, local: str, host: str, trail: tuple[str, ...]) -> Iterator[LocalUser | Forward]:
        """Every end of every way; C{trail} are the names that led here."""
        if host not in self.hosts:  # without a domain, or at the server's own name: the first host's
            if user_key(local) != POSTMASTER or not self.hosts:
                return
            host = next(iter(self.hosts))
        names = self.hosts[host]
        entry = names.find(local)
        if entry is None:
            return
        step = f"{entry.spelled}@{host}"
        if step in trail:
            raise BadAlias("leads in a circle: " + " → ".join([*trail[trail.index(step) :], step]))
        if len(trail) > MOST_LEVELS:
            raise BadAlias(f"leads through more than {MOST_LEVELS} aliases")
        for target in entry.targets:
            address = address_of_target(target)
            if address is None:
                yield LocalUser(Address(target, host), names.table)
            elif self.listed(canonical_domain(address.domain)):
                yield from self._inside(address, (*trail, step))
            else:
                yield Forward(address, Address(entry.spelled, host), Address(names.owner(entry.spelled), host))

    def _inside(self, address: Address, trail: tuple[str, ...]) -> Iterator[LocalUser | Forward]:
        nobody = True
        for end in self._follow(address.local, canonical_domain(address.domain), trail):
            nobody = False
            yield end
        if nobody:
            raise BadAlias(f"nobody gets mail for {address}")
