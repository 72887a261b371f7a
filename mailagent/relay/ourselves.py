"""Which addresses are this machine's own, or no machine's, so that mail for elsewhere never goes there (RFC 5321
section 5.1).

The rule, for addresses that the DNS gives:

  - C{0.0.0.0}, C{::}, multicast and broadcast are nobody's, and not used;
  - an address and port at which we listen are ourselves;
  - loopback is this machine, and whoever listens there trusts it: ourselves too. Unless mail goes to another port than
    25 (C{relay.port}): that is a laboratory, all of it on one machine.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs

_SMTP = 25
_BROADCAST = IPv4Address("255.255.255.255")
_DISCARD = 9  # a port for a socket that sends nothing


def has_route(address: str) -> bool:
    """Whether this machine has a way to an IP address, by its own routing table. Sends nothing."""
    try:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
            probe.connect((address, _DISCARD))
    except OSError:  # also where the machine does not know the family at all
        return False
    return True


def is_local(address: str) -> bool:
    """Whether an IP address is one of this machine's interfaces'."""
    try:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


@attrs.frozen
class Ourselves:
    """This machine, as seen by who looks for mail servers.

    @ivar name: our hostname, in canonical form.
    @ivar listening: IP addresses and ports at which we listen, now; C{0.0.0.0} and C{::} are every address.
    @ivar is_local: see L{is_local}.
    @ivar has_route: see L{has_route}.
    """

    name: str
    listening: Callable[[], Iterable[tuple[str, int]]]
    is_local: Callable[[str], bool] = is_local
    has_route: Callable[[str], bool] = has_route

    def are_at(self, address: str, port: int) -> bool:
        """Whether C{address} and C{port} are our own, or loopback where it is not to be used."""
        at = plain(address)
        if at.is_loopback and port == _SMTP:
            return True
        hosts = {plain(host) for host, number in self.listening() if number == port}
        return at in hosts or (any(host.is_unspecified for host in hosts) and self.is_local(str(at)))


def plain(address: str) -> IPv4Address | IPv6Address:
    """An address in the form in which two spellings of it are equal: IPv4-mapped IPv6 is IPv4."""
    parsed = ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed


def is_somebodys(address: str) -> bool:
    """Whether a single machine can be at an IP address."""
    at = plain(address)
    return not (at.is_unspecified or at.is_multicast or at == _BROADCAST)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
