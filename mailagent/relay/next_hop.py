"""Where one attempt goes: a route and the servers it leads to, looked up now."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from ipaddress import ip_address

import attrs

from mailagent.dns.resolver import DNSTrouble, NoSuchDomain, Resolver
from mailagent.envelope.reply import Reply
from mailagent.relay.mx import MailServer, Shuffle, Unroutable, interleaved, mail_servers
from mailagent.relay.ourselves import Ourselves
from mailagent.relay.routes import Route

#: RFC 6761 section 6.3: no question for the DNS.
_LOCALHOST = MailServer("localhost", ("127.0.0.1", "::1"))


@attrs.frozen
class NextHop:
    """The next hop.

    @ivar servers: in the order in which they are tried; for a local socket, one at the address C{""}.
    @ivar tls: what is asked of TLS: the route's demand, or more.
    """

    route: Route
    servers: tuple[MailServer, ...]
    tls: str

    @property
    def destination(self) -> Hashable:
        """What is one destination: a set of servers, whatever the domain, under one demand on TLS and one login.

        So a demand that one route makes, and that fails, holds up nobody else. A session opened for it serves for all.
        """
        route = self.route
        servers = route.socket or frozenset(each.host for each in self.servers)
        return servers, route.port, route.lmtp, route.user, self.tls

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Each host with each of its addresses."""
        return ((server.host, address) for server in self.servers for address in server.addresses)


async def next_hop(
    route: Route, domain: str, require_tls: bool, resolver: Resolver, ourselves: Ourselves, shuffle: Shuffle
) -> NextHop:
    """The next hop for a domain's mail.

    @param require_tls: whether the message may only go where TLS is verified (RFC 8689).
    @raise Unroutable: there is none. Never for good where the route, which is our own, is to blame.
    """
    tls = "verify" if require_tls else route.tls
    if route.socket:
        return NextHop(route, (MailServer("localhost", ("",)),), tls)
    if route.host:
        return NextHop(route, (await _server(route.host, resolver),), tls)
    return NextHop(route, await mail_servers(domain, resolver, ourselves, route.port, shuffle), tls)


async def _server(host: str, resolver: Resolver) -> MailServer:
    """The server that a route names."""
    if host == _LOCALHOST.host:
        return _LOCALHOST
    try:
        return MailServer(host, (str(ip_address(host)),))
    except ValueError:
        pass
    try:
        addresses = await resolver.addresses(host)
    except DNSTrouble as error:
        raise Unroutable(Reply(451, "4.4.3", str(error))) from None
    except NoSuchDomain:
        addresses = ()
    if not addresses:
        raise Unroutable(Reply(451, "4.4.4", f"The next hop, {host}, has no address"))
    return MailServer(host, tuple(interleaved(addresses)))
