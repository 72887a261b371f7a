"""Who is at the other end of a transport, normalised once."""

from __future__ import annotations

import ipaddress
import socket
import struct
from functools import lru_cache
from typing import Any

import attrs
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import ISSLTransport


@attrs.frozen
class Peer:
    """The remote end: its IP C{address} in canonical text, and its C{port} or C{0}.

    C{address} is C{""} for a local socket, and C{"unknown"} for what has no IP address.

    @ivar user: the number of the user at the other end of a local socket, where that is asked for.
    """

    address: str
    port: int
    user: int | None = None

    @classmethod
    def of(cls, transport: Any) -> Peer:
        """The peer of a connected transport. An IPv4-mapped IPv6 address is IPv4."""
        return cls.at(transport.getPeer())

    @classmethod
    def at(cls, remote: Any) -> Peer:
        """The peer at an address as Twisted has it, normalised likewise."""
        if isinstance(remote, UNIXAddress):
            return cls("", 0)
        try:
            return cls(_canonical(remote.host), remote.port)
        except (AttributeError, ValueError):
            return cls("unknown", 0)

    @property
    def local(self) -> bool:
        """Whether the peer is on this machine: loopback or a local socket."""
        return not self.address or _is_loopback(self.address)

    @property
    def network(self) -> str:
        """What one client commands: an IPv4 address, or an IPv6 /64 in the form C{2001:db8::/64}; of users of this
        machine whom the system names, each is one."""
        if self.user is not None:
            return f"user {self.user}"
        if ":" not in self.address:
            return self.address
        return str(ipaddress.ip_network((self.address.partition("%")[0], 64), strict=False))

    def __str__(self) -> str:
        if not self.address:
            return "local socket"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@lru_cache(maxsize=4096)
def _canonical(address: str) -> str:
    """An IP address in the one form we have of it. @raise ValueError: it is none."""
    parsed = ipaddress.ip_address(address)
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


@lru_cache(maxsize=4096)
def _is_loopback(address: str) -> bool:
    return address != "unknown" and ipaddress.ip_address(address).is_loopback


def tls_phrase(transport: Any) -> str:
    """Protocol version and cipher of a TLS transport, for the C{Received} field; C{""} without TLS."""
    if not ISSLTransport.providedBy(transport):
        return ""
    connection: Any = transport.getHandle()  # type: ignore[attr-defined]
    return f"{connection.get_protocol_version_name()} with cipher {connection.get_cipher_name()}"


def user_id(transport: Any) -> int:
    """The number of the user at the other end of a local socket, when it connected (SO_PEERCRED); nobody can lie."""
    credentials = struct.Struct("3i")  # process, user, group
    found = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return int(credentials.unpack(found)[1])
