"""Checks across settings: what is right by itself and wrong together.

They run on what could be structured. A complaint that would only echo an earlier one (the list of users is
missing because it was no list) is left out: C{broken} holds the paths already complained about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from mailagent.config.driver import missing_driver
from mailagent.config.names import BadAlias, Names
from mailagent.config.problems import KeyPath, Problem, dotted, one_of, shown
from mailagent.config.schema import CertificateSettings, Config, HostSettings, WhitelistSettings
from mailagent.config.schema import settings as settings_of
from mailagent.config.units import duration_text
from mailagent.config.values import DATABASE, LOGIN_ROLES, user_key
from mailagent.envelope.address import canonical_domain

#: A name that is nobody's: it can be no user's.
_ANYBODY = "@"
#: Seconds. A heartbeat takes a commit, four of them in this time.
_LEAST_LEASE = 1.0


def check(config: Config, broken: Collection[KeyPath]) -> Iterator[Problem]:
    """All that is wrong between the settings of C{config}."""
    if config.directory.source == DATABASE:
        yield from _twofold(config)
    else:
        yield from _somebody(config, broken)
    yield from _users(("whitelist",), config.whitelist, broken)
    for host, settings in config.hosts.items():
        if not settings.users and not _touched(("hosts", host), broken):
            yield Problem(("hosts", host, "users"), "list at least one user")
        yield from _users(("hosts", host), settings, broken)
    yield from _hosts(config)
    yield from _aliases(config, broken)
    yield from _paths(config)
    yield from _listeners(config, broken)
    yield from _certificates(config, broken)
    if config.queue.lease < _LEAST_LEASE:
        yield Problem(("queue", "lease"), f"expected at least {duration_text(_LEAST_LEASE)}")
    yield from _drivers(config)


def _touched(path: KeyPath, broken: Collection[KeyPath]) -> bool:
    return any(at[: len(path)] == path for at in broken)


def _somebody(config: Config, broken: Collection[KeyPath]) -> Iterator[Problem]:
    """A whitelist has hosts and users, or there is none and [hosts] stands in for it."""
    if _touched(("whitelist",), broken):
        return
    whitelist = config.whitelist
    absent = not (
        whitelist.hosts or whitelist.users or whitelist.aliases or whitelist.catch_all or whitelist.postmaster
    )
    if absent:
        if not config.hosts and not _touched(("hosts",), broken):
            listing = "list at least one host and one user"
            storing = f'have them in the database by directory.source = "{DATABASE}"'
            yield Problem((), f"neither [whitelist] nor [hosts] is given: {listing}, or {storing}")
        return
    if not whitelist.hosts:
        yield Problem(("whitelist", "hosts"), "list at least one host")
    if not whitelist.users:
        yield Problem(("whitelist", "users"), "list at least one user")


def _twofold(config: Config) -> Iterator[Problem]:
    """Hosts, users and aliases have one source: what is listed here as well would never be looked at."""
    given: list[KeyPath] = [
        ("whitelist", field.name) for field in settings_of(WhitelistSettings) if getattr(config.whitelist, field.name)
    ]
    given += [("hosts", host) for host in config.hosts]
    given += [("directory", "users")] if config.directory.users else []
    for path in given:
        yield Problem(path, f'leave it out: directory.source is "{DATABASE}", and all of it is there')


def _users(path: KeyPath, settings: HostSettings, broken: Collection[KeyPath]) -> Iterator[Problem]:
    """One host's names: each stands for one thing, and leads to a user who is listed."""
    users = {user_key(user) for user in settings.users}
    if not users:
        return
    yield from _twice((*path, "users"), settings.users)
    yield from _twice((*path, "aliases"), settings.aliases)
    named: list[tuple[KeyPath, str]] = []
    for alias, targets in settings.aliases.items():
        if user_key(alias) in users:
            yield Problem((*path, "aliases", alias), "a user of that name is listed, and would never get mail")
        if not targets and not _touched((*path, "aliases", alias), broken):
            yield Problem((*path, "aliases", alias), "list at least one user or address")
        named += [((*path, "aliases", alias), target) for target in targets]
    for setting in ("catch_all", "postmaster"):
        if (user := getattr(settings, setting)) is not None:
            named.append(((*path, setting), user))
    for at, user in named:
        if "@" not in user and user_key(user) not in users:
            allowed = one_of(settings.users)
            yield Problem(at, f"expected one of {dotted((*path, 'users'))} ({allowed}), found {shown(user)}")


def _aliases(config: Config, broken: Collection[KeyPath]) -> Iterator[Problem]:
    """Every alias leads somewhere, and not in a circle. Asked only where nothing else is wrong with the names."""
    if _touched(("whitelist",), broken) or _touched(("hosts",), broken):
        return
    names = Names.of(config)
    tables: list[tuple[KeyPath, Iterable[str], HostSettings]] = [
        (("whitelist",), config.whitelist.hosts, config.whitelist)
    ]
    tables += [(("hosts", host), [host], settings) for host, settings in config.hosts.items()]
    for path, hosts, settings in tables:
        leading: list[tuple[KeyPath, str]] = [((*path, "aliases", alias), alias) for alias in settings.aliases]
        if settings.catch_all is not None:
            leading.append(((*path, "catch_all"), _ANYBODY))
        for host in islice(hosts, 1):  # hosts of one table lead to the same
            for at, name in leading:
                try:
                    names.lead(name, canonical_domain(host))
                except BadAlias as error:
                    yield Problem(at, str(error))


def _twice(path: KeyPath, names: Iterable[str]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(user_key(name), name)
        if first is not name:
            yield Problem(path, f"{shown(name)} is the same name as {shown(first)}")


def _hosts(config: Config) -> Iterator[Problem]:
    """A host stands in one place: in the whitelist, or in a table of its own."""
    places: list[tuple[KeyPath, str]] = [(("whitelist", "hosts"), host) for host in config.whitelist.hosts]
    places += [(("hosts", host), host) for host in config.hosts]
    seen: dict[str, KeyPath] = {}
    for path, host in places:
        key = canonical_domain(host)
        if key in seen:
            yield Problem(path, f"{shown(host)} is already listed in {dotted(seen[key])}")
        seen.setdefault(key, path)


def _paths(config: Config) -> Iterator[Problem]:
    """A [hosts] table's mailboxes are in a directory named for the host: no Maildir may be that directory."""
    hosts = {canonical_domain(host): host for host in config.hosts}
    for user in config.whitelist.users:
        if (host := hosts.get(user_key(user))) is not None:
            yield Problem(
                ("whitelist", "users"),
                f"the mailbox of {shown(user)} would hold those of {dotted(('hosts', host))}: use another name",
            )


def _drivers(config: Config) -> Iterator[Problem]:
    """Each database can be spoken to."""
    directory = config.directory.url if config.directory.source == DATABASE else None
    for path, url in ((("queue", "url"), config.queue.url), (("directory", "url"), directory)):
        if url is not None and (missing := missing_driver(url)):
            yield Problem(path, missing)


def _listeners(config: Config, broken: Collection[KeyPath]) -> Iterator[Problem]:
    if not config.listen and not _touched(("listen",), broken):
        yield Problem(("listen",), "list at least one listener, or leave it out")
    seen = set()
    somebody = config.directory.users is not None or config.directory.source == DATABASE
    nobody = not somebody and not _touched(("directory",), broken)
    for index, listener in enumerate(config.listen):
        if listener.endpoint in seen:
            yield Problem(("listen",), f"{shown(listener.endpoint)} is listed twice")
        seen.add(listener.endpoint)
        if nobody and listener.role in LOGIN_ROLES:
            yield Problem(("listen", index, "role"), "nobody could log in: name the users file in directory.users")


def _certificates(config: Config, broken: Collection[KeyPath]) -> Iterator[Problem]:
    """A certificate and its key go together; for a host of its own, both must be given."""
    yield from _pair(("tls",), config.tls, broken, needed=False)
    for host, settings in config.tls.hosts.items():
        yield from _pair(("tls", "hosts", host), settings, broken, needed=True)
    yield from _spelled_twice(("tls", "hosts"), config.tls.hosts)


def _pair(path: KeyPath, settings: CertificateSettings, broken: Collection[KeyPath], needed: bool) -> Iterator[Problem]:
    absent = [name for name in ("certificate", "key") if getattr(settings, name) is None]
    if needed or len(absent) == 1:
        for name in absent:
            if not _touched((*path, name), broken):
                yield Problem((*path, name), "a certificate and its key go together: name this file too")


def _spelled_twice(path: KeyPath, hosts: Iterable[str]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for host in hosts:
        first = seen.setdefault(canonical_domain(host), host)
        if first is not host:
            yield Problem((*path, host), f"{shown(host)} is the same host as {shown(first)}")
