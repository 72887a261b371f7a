"""Writing to a socket at once, where nothing else waits to be written.

Twisted's transports wait until the reactor finds the socket writable, which it nearly always is: for each reply that
costs two calls of C{epoll_ctl} and a turn of the loop, more than the reply itself.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def write_now(transport: Any, octets: bytes) -> int:
    """Write as much as the socket takes without waiting, past the transport's buffer, which must be empty.

    @return: how many octets were taken; 0 for anything but a bare socket (with TLS, it is not for us to write to it),
        and for one that is broken, which C{transport.write} will notice.
    """
    if not isinstance(transport, Connection) or transport.TLS or not transport.connected:
        return 0
    taken = transport.writeSomeData(octets)
    return taken if isinstance(taken, int) else 0
