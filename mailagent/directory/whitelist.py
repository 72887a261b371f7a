"""The whitelist: who receives mail here, as configuration lists them.

Nothing is looked up anywhere: tables are made once, and C{resolve} reads a few dictionaries. It raises
nothing but L{NoSuchHost} and L{NoSuchUser}, whatever an address holds, and every path in its answers is
made of configured names alone.

A host that a route of its own names, and hands over by LMTP, has no mailboxes here: each of its users is a L{Forward}
to the very address, which the queue delivers by that route.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache

import attrs
from zope.interface import implementer

from mailagent.config import Config
from mailagent.config.names import POSTMASTER, LocalUser, Names
from mailagent.config.values import destination_parts
from mailagent.envelope.address import Address, canonical_domain
from mailagent.envelope.forward import Forward
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import IDirectory, NoSuchHost, NoSuchUser

#: A longer local part is nobody's: four times what RFC 5321 section 4.5.3.1.1 allows, to leave room for tags.
_LONGEST = 256
#: Addresses whose targets are remembered.
_REMEMBERED = 4096


@implementer(IDirectory)
@attrs.frozen
class Whitelist:
    """The L{IDirectory} of the C{[whitelist]} and C{[hosts]} tables."""

    _names: Names
    #: The directory of all mailboxes.
    _root: str
    #: Hosts, in canonical form, whose mail is handed over by LMTP.
    _handed_over: Collection[str] = frozenset()
    #: Where a local part and a host have led; the tables never change.
    _found: Callable[[str, str], tuple[Mailbox | Forward, ...]] = attrs.field(
        default=attrs.Factory(lambda self: lru_cache(maxsize=_REMEMBERED)(self._targets), takes_self=True),
        init=False,
        eq=False,
        repr=False,
    )

    @classmethod
    def from_config(cls, config: Config) -> Whitelist:
        """The directory that a (checked) configuration describes."""
        return cls(Names.of(config), os.path.abspath(config.mailboxes.path), _handed_over(config))

    def resolve(self, recipient: Address) -> tuple[Mailbox | Forward, ...]:
        """See L{IDirectory.resolve}. The answer is never a C{Deferred}."""
        try:
            host = recipient.host
        except ValueError:
            raise NoSuchHost(recipient.domain) from None
        if not self._names.listed(host):
            raise NoSuchHost(recipient.domain)
        if len(recipient.local) > _LONGEST:
            raise NoSuchUser(recipient.local)
        found = self._found(recipient.local, host)
        if not found:
            raise NoSuchUser(recipient.local)
        return found

    def _targets(self, local: str, host: str) -> tuple[Mailbox | Forward, ...]:
        ends = self._names.lead(local, host)
        return tuple(self._target(end) if isinstance(end, LocalUser) else end for end in ends)

    def _target(self, user: LocalUser) -> Mailbox | Forward:
        if user.address.host in self._handed_over:
            return Forward(user.address, user.address, Address(POSTMASTER, user.address.domain))
        return self._mailbox(user)

    def _mailbox(self, user: LocalUser) -> Mailbox:
        return Mailbox(user.address, os.path.join(self._root, user.table, user.address.local))

    def mailboxes(self) -> Iterator[Mailbox]:
        """See L{IDirectory.mailboxes}: one for each path, in the order of configuration."""
        seen: set[str] = set()
        for host, names in self._names.hosts.items():
            if names.table not in seen and host not in self._handed_over:
                seen.add(names.table)
                yield from (self._mailbox(LocalUser(Address(user, host), names.table)) for user in names.settings.users)


def _handed_over(config: Config) -> frozenset[str]:
    """The domains that have a route of their own, by LMTP. A route for many does not count: ours never leave by it."""
    return frozenset(
        canonical_domain(pattern)
        for pattern, route in config.routes.items()
        if pattern != "*" and not pattern.startswith(".") and destination_parts(route.to)[0] == "lmtp"
    )
