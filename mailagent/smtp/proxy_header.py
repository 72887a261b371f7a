"""The header of the PROXY protocol, versions 1 and 2: who is at the other end of a proxy.

A pure function; the specification is HAProxy's C{proxy-protocol.txt}.
"""

from __future__ import annotations

import ipaddress
import re

import attrs

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\Z")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\Z")
_MAX_V1 = 107
#: Octets of addresses and extensions that version 2 may bring; proxies send a few hundred at most.
_MAX_V2 = 2048
#: By address family and transport: octets of one address.
_V2_ADDRESS = {0x11: 4, 0x21: 16}


@attrs.frozen
class Origin:
    """The client's IP C{address} in canonical text, and its C{port}."""

    address: str
    port: int


def parse(octets: bytes) -> tuple[Origin | None, int] | None:
    """Read the header that C{octets} begin with.

    @return: C{None} if it is not all here; else the client (C{None}: the proxy itself, as for its health checks) and
        the header's length.
    @raise ValueError: this is no such header.
    """
    if octets.startswith(_SIGNATURE):
        return _parse_v2(octets)
    if _SIGNATURE.startswith(octets):
        return None
    end = octets.find(b"\r\n", 0, _MAX_V1)
    if end < 0:
        if len(octets) >= _MAX_V1 or not (octets.startswith(b"PROXY ") or b"PROXY ".startswith(octets)):
            raise ValueError("no PROXY header")
        return None
    return _parse_v1(octets[:end]), end + 2


def _parse_v1(line: bytes) -> Origin | None:
    if _V1_UNKNOWN.match(line):
        return None
    found = _V1.match(line)
    if found is None:
        raise ValueError("a malformed PROXY header")
    kind = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
    source, _ = (kind(found[group].decode("ascii")) for group in (2, 3))
    ports = [int(found[group]) for group in (4, 5)]
    if max(ports) > 65535:
        raise ValueError("no port")
    return Origin(str(source), ports[0])


def _parse_v2(octets: bytes) -> tuple[Origin | None, int] | None:
    if len(octets) < 16:
        return None
    command, family, length = octets[12], octets[13], int.from_bytes(octets[14:16], "big")
    if command not in (0x20, 0x21) or length > _MAX_V2:
        raise ValueError("no version or command we know")
    if len(octets) < 16 + length:
        return None
    size = _V2_ADDRESS.get(family)
    if command == 0x20 or size is None:
        return None, 16 + length
    if length < 2 * size + 4:
        raise ValueError("addresses cut short")
    source = ipaddress.ip_address(octets[16 : 16 + size])
    port = int.from_bytes(octets[16 + 2 * size : 18 + 2 * size], "big")
    return Origin(str(source), port), 16 + length
