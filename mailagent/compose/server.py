"""The server that a message is submitted to: its name on the command line, and sessions with it."""

from __future__ import annotations

import re

import attrs
from twisted.internet.base import ReactorBase
from twisted.internet.endpoints import HostnameEndpoint

from mailagent.compose.protection import DEFAULT_PORT
from mailagent.smtp.client_auth import Login
from mailagent.smtp.client_channel import Watch
from mailagent.smtp.client_tls import ClientTLS
from mailagent.smtp.sender import Sender, open_session
from mailagent.smtp.sending_failed import Unreachable

_SERVER = re.compile(r"(?:\[(?P<literal>[^\]]+)\]|(?P<name>[^:\[\]\s]+))(?::(?P<port>[0-9]{1,5}))?\Z")


@attrs.frozen
class Server:
    """What listens at C{port} of C{host}, a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, port_if_none: int = DEFAULT_PORT) -> Server:
        """C{HOST}, C{HOST:PORT}, C{[IPV6]}, C{[IPV6]:PORT} or C{IPV6}.

        @raise ValueError: C{text} is none of these; the text says so.
        """
        if text.count(":") > 1 and "[" not in text:  # an IPv6 address can only stand without a port
            text = f"[{text}]"
        found = _SERVER.match(text)
        port = int(found["port"] or port_if_none) if found else 0
        if found is None or not 0 < port < 65536:
            raise ValueError(f"{text!r} is not HOST[:PORT]")
        return cls(found["literal"] or found["name"], port)

    async def session(
        self, reactor: ReactorBase, name: str, tls: ClientTLS | None, watch: Watch, login: Login | None
    ) -> Sender:
        """A session, as L{open_session} has it.

        @param name: this host's.
        """
        try:
            endpoint = HostnameEndpoint(reactor, self.host, self.port)
            return await open_session(endpoint, reactor, name, tls=tls, login=login, watch=watch)
        except Unreachable as error:
            raise Unreachable(f"{self}: {error.reason}") from error
