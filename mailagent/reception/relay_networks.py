"""Whose clients may send to any host without a login."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import attrs

from mailagent.envelope.trace import Client

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.define(eq=False)
class RelayNetworks:
    """The networks of C{relay.networks}, which may change. By default, nobody's."""

    _networks: Collection[Network] = ()

    @classmethod
    def of(cls, networks: Collection[str]) -> RelayNetworks:
        """From texts such as C{"192.0.2.0/24"} or C{"2001:db8::1"}."""
        made = cls()
        made.take_up(networks)
        return made

    def take_up(self, networks: Collection[str]) -> None:
        """Be these networks from now on."""
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def __contains__(self, client: Client) -> bool:
        try:
            address = ipaddress.ip_address(client.address)
        except ValueError:  # a local socket's peer, or a stock session's
            return False
        return any(address in network for network in self._networks)
