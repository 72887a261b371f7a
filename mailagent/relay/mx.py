"""Which mail servers a domain has, in the order in which they are tried (RFC 5321 section 5.1).

What stands in the way is L{Unroutable}, with the reply that the recipients get: 5yz where the domain has said, or
shown, that it takes no mail; 4yz where the DNS says nothing now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby, zip_longest

import attrs
from twisted.internet.defer import Deferred

from mailagent.dns.resolver import MX, DNSTrouble, NoSuchDomain, Resolver
from mailagent.envelope.reply import Reply
from mailagent.relay.ourselves import Ourselves, is_somebodys, plain

#: No domain has us try more of its hosts, or of their addresses, in one attempt.
MOST_HOSTS, MOST_ADDRESSES = 10, 20
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*(?!\d+\Z)[a-z0-9_-]{1,63}\Z", re.ASCII)
_LITERAL = re.compile(r"\[(?:ipv6:(?P<six>[0-9a-f:.]+)|(?P<four>[0-9.]+))\]\Z", re.IGNORECASE)
_NULL = "."

#: Puts a list in random order, in place.
Shuffle = Callable[[list[str]], None]


class Unroutable(Exception):
    """There is no server to go to; C{reply} tells the sender why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@attrs.frozen
class MailServer:
    """One host and its IP addresses, in the order in which they are tried."""

    host: str
    addresses: tuple[str, ...]


async def mail_servers(
    domain: str, resolver: Resolver, ourselves: Ourselves, port: int, shuffle: Shuffle
) -> tuple[MailServer, ...]:
    """The servers for a domain's mail, best first: at least one, each with at least one address.

    @param domain: in canonical form, or an address literal.
    @param port: where they are spoken to.
    @raise Unroutable: there are none.
    """
    if domain.startswith("["):
        return _reachable([_literal(domain)], ourselves, port)
    try:
        records = await resolver.mx(domain)
        if is_null(records):
            raise Unroutable(Reply(556, "5.1.10", f"{domain} takes no mail (null MX)"))
        if not records:
            return _reachable([await _implicit(domain, resolver)], ourselves, port)
    except NoSuchDomain as error:
        raise Unroutable(Reply(550, "5.1.2", str(error))) from None
    except DNSTrouble as error:
        raise Unroutable(Reply(451, "4.4.3", str(error))) from None
    levels = ordered(records, shuffle)
    found, trouble = await _addresses([host for level in levels for host in level], resolver)
    servers = before_us([[found[host] for host in level] for level in levels], ourselves, port)
    if trouble is not None and not any(server.addresses for server in servers):
        raise Unroutable(Reply(451, "4.4.3", str(trouble)))
    return _reachable(servers, ourselves, port)


def is_null(records: Sequence[MX]) -> bool:
    """Whether these say that the domain takes no mail (RFC 7505)."""
    return [record.host for record in records] == [_NULL]


def ordered(records: Iterable[MX], shuffle: Shuffle) -> list[list[str]]:
    """The hosts by preference, equals together in random order; each once, no more than L{MOST_HOSTS}.

    What is no host's name, such as an IP address, is left out.
    """
    best: dict[str, int] = {}
    for record in records:
        if _HOST.match(record.host):
            best[record.host] = min(record.preference, best.get(record.host, record.preference))
    levels = []
    room = MOST_HOSTS
    for _, level in groupby(sorted(best, key=lambda host: (best[host], host)), best.__getitem__):
        hosts = list(level)
        shuffle(hosts)
        levels.append(hosts[:room])
        room -= len(levels[-1])
    return [level for level in levels if level]


def before_us(levels: Sequence[Sequence[MailServer]], ourselves: Ourselves, port: int) -> list[MailServer]:
    """The servers preferred to ourselves: mail must not go to us, nor back to those we are the better choice than.

    @raise Unroutable: none is, but ourselves are.
    """
    servers: list[MailServer] = []
    for level in levels:
        if any(_is_us(server, ourselves, port) for server in level):
            if not servers:
                raise Unroutable(_LOOP)
            break
        servers += level
    return servers


def interleaved(addresses: Iterable[str]) -> list[str]:
    """IPv6 and IPv4 in turn, IPv6 first, each family in its order."""
    by_family: dict[bool, list[str]] = {True: [], False: []}
    for address in dict.fromkeys(str(plain(each)) for each in addresses):
        by_family[":" in address].append(address)
    return [address for pair in zip_longest(by_family[True], by_family[False]) for address in pair if address]


def _is_us(server: MailServer, ourselves: Ourselves, port: int) -> bool:
    return server.host == ourselves.name or any(ourselves.are_at(address, port) for address in server.addresses)


def _literal(domain: str) -> MailServer:
    found = _LITERAL.match(domain)
    try:
        address = str(
            IPv6Address(found["six"]) if found and found["six"] else IPv4Address(found["four"] if found else "")
        )
    except ValueError:
        raise Unroutable(Reply(550, "5.1.2", f"{domain} is not an address")) from None
    return MailServer(domain, (address,))


async def _implicit(domain: str, resolver: Resolver) -> MailServer:
    """The domain itself, which stands for an MX record where there is none."""
    addresses = await resolver.addresses(domain)
    if not addresses:
        raise Unroutable(Reply(550, "5.1.2", f"{domain} has neither a mail server nor an address"))
    return MailServer(domain, addresses)


async def _addresses(hosts: Sequence[str], resolver: Resolver) -> tuple[dict[str, MailServer], DNSTrouble | None]:
    """Each host with the addresses it has, if any, all asked for at once; and what trouble there was about one."""
    asked = [Deferred.fromCoroutine(_look_up(host, resolver)) for host in hosts]
    answers = dict(zip(hosts, [await each for each in asked], strict=True))
    trouble = [answer for answer in answers.values() if isinstance(answer, DNSTrouble)]
    servers = {
        host: MailServer(host, () if isinstance(answer, DNSTrouble) else answer) for host, answer in answers.items()
    }
    return servers, trouble[0] if trouble else None


async def _look_up(host: str, resolver: Resolver) -> tuple[str, ...] | DNSTrouble:
    try:
        return await resolver.addresses(host)
    except NoSuchDomain:
        return ()
    except DNSTrouble as error:
        return error


def _reachable(servers: Sequence[MailServer], ourselves: Ourselves, port: int) -> tuple[MailServer, ...]:
    """The servers with the addresses that can be gone to, no more than L{MOST_ADDRESSES} of them.

    @raise Unroutable: there is none.
    """
    usable = [MailServer(each.host, tuple(filter(is_somebodys, interleaved(each.addresses)))) for each in servers]
    if not any(each.addresses for each in usable):
        raise Unroutable(Reply(550, "5.4.4", "No mail server of the domain has a usable address"))
    if all(_is_us(each, ourselves, port) for each in usable if each.addresses):
        raise Unroutable(_LOOP)
    routed, room = [], MOST_ADDRESSES
    for each in usable:
        addresses = tuple(filter(ourselves.has_route, each.addresses))[:room]
        room -= len(addresses)
        if addresses:
            routed.append(MailServer(each.host, addresses))
    if not routed:
        raise Unroutable(Reply(451, "4.4.1", "There is no way from here to any of the domain's mail servers"))
    return tuple(routed)


_LOOP = Reply(554, "5.4.6", "Mail for this domain would come back here: its best mail server is this one")
