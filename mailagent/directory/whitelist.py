"""The whitelist: who receives mail here, as configuration lists them.

Nothing is looked up anywhere: tables are made once, and C{resolve} reads a few dictionaries. It raises
nothing but L{NoSuchHost} and L{NoSuchUser}, whatever an address holds, and every path in its answers is
made of configured names alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import attrs
from zope.interface import implementer

from mailagent.config import Config, HostSettings, user_key
from mailagent.envelope.address import Address, canonical_domain
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import IDirectory, NoSuchHost, NoSuchUser

#: Always accepted at our hosts, without a domain and at the server's own name (RFC 5321 section 4.5.1).
_POSTMASTER = "postmaster"
#: A longer local part is nobody's: four times what RFC 5321 section 4.5.3.1.1 allows, to leave room for tags.
_LONGEST = 256


@attrs.frozen
class _Names:
    """The names of one host, or of all hosts that share them.

    C{users} gives the users a name leads to, C{paths} the mailbox of each user; names are L{user_key}s,
    users are spelled as configured.
    """

    users: Mapping[str, tuple[str, ...]]
    paths: Mapping[str, str]
    catch_all: tuple[str, ...]

    @classmethod
    def read(cls, settings: HostSettings, root: str) -> _Names:
        """The names in C{settings}, which has at least one user, with mailboxes under C{root}."""
        spelled = {user_key(user): user for user in settings.users}
        users: dict[str, tuple[str, ...]] = {key: (user,) for key, user in spelled.items()}
        for alias, targets in settings.aliases.items():
            users[user_key(alias)] = tuple(dict.fromkeys(spelled[user_key(target)] for target in targets))
        users.setdefault(_POSTMASTER, (spelled[user_key(settings.postmaster or settings.users[0])],))
        return cls(
            users=users,
            paths={user: os.path.join(root, user) for user in settings.users},
            catch_all=(spelled[user_key(settings.catch_all)],) if settings.catch_all else (),
        )

    def mailboxes(self, name: str, host: str) -> tuple[Mailbox, ...]:
        """Where mail for C{name} goes: the name itself, else C{name} without its C{+tag}, else the catch-all."""
        users = self.users.get(name) or self.users.get(name.partition("+")[0]) or self.catch_all
        return tuple(Mailbox(Address(user, host), self.paths[user]) for user in users)


@implementer(IDirectory)
@attrs.frozen
class Whitelist:
    """The L{IDirectory} of the C{[whitelist]} and C{[hosts]} tables."""

    _hostname: str
    #: The names at each of our hosts, by the host's canonical form.
    _hosts: Mapping[str, _Names]

    @classmethod
    def from_config(cls, config: Config) -> Whitelist:
        """The directory that a (checked) configuration describes."""
        root = os.path.abspath(config.mailboxes.path)
        hosts: dict[str, _Names] = {}
        if config.whitelist.users:
            shared = _Names.read(config.whitelist, root)
            hosts = {canonical_domain(host): shared for host in config.whitelist.hosts}
        for host, settings in config.hosts.items():
            canonical = canonical_domain(host)
            hosts[canonical] = _Names.read(settings, os.path.join(root, canonical))
        return cls(canonical_domain(config.hostname), hosts)

    def resolve(self, recipient: Address) -> tuple[Mailbox, ...]:
        """See L{IDirectory.resolve}. The answer is never a C{Deferred}."""
        try:
            host = recipient.host
        except ValueError:
            raise NoSuchHost(recipient.domain) from None
        names = self._hosts.get(host)
        if names is None and host not in ("", self._hostname):
            raise NoSuchHost(recipient.domain)
        if len(recipient.local) > _LONGEST:
            raise NoSuchUser(recipient.local)
        name = user_key(recipient.local)
        if names is not None:
            mailboxes = names.mailboxes(name, host)
        else:
            mailboxes = self._server_postmaster() if name == _POSTMASTER else ()
        if not mailboxes:
            raise NoSuchUser(recipient.local)
        return mailboxes

    def _server_postmaster(self) -> tuple[Mailbox, ...]:
        """Who C{postmaster} is without a domain, and at the server's own name: the first host's."""
        host, names = next(iter(self._hosts.items()))
        return names.mailboxes(_POSTMASTER, host)

    def mailboxes(self) -> Iterator[Mailbox]:
        """See L{IDirectory.mailboxes}: one for each path, in the order of configuration."""
        seen: set[int] = set()
        for host, names in self._hosts.items():
            if id(names) not in seen:
                seen.add(id(names))
                yield from (Mailbox(Address(user, host), path) for user, path in names.paths.items())
