"""How a session with a next hop is opened: TLS as asked for, and a login where there is one.

What is demanded, and what is done:

  - C{may}: STARTTLS with whoever is there, where it is offered. If the handshake fails, once more without it; the
    address is remembered for an hour, and not asked for TLS meanwhile.
  - C{require}: STARTTLS, or no session. C{verify}: with the server that was meant.
  - A login is given under verified TLS alone, whatever the route says, but on loopback.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from mailagent.config import Config
from mailagent.dns.cache import Cache
from mailagent.log import ERROR, TLS_GIVEN_UP
from mailagent.relay.next_hop import NextHop
from mailagent.relay.password import PasswordUnusable, read_password
from mailagent.relay.routes import Route
from mailagent.smtp.client_auth import Login
from mailagent.smtp.client_tls import ClientTLS, opportunistic, verified
from mailagent.smtp.sender import Sender, open_session
from mailagent.smtp.sending_failed import HandshakeBroken, LoginFailed, NotSecure

_PLAIN_FOR = 3600.0
_REMEMBERED = 1000

#: Makes an endpoint of an IP address, its port, and the seconds to wait; of a path, where the port is 0.
Endpoint = Callable[[str, int, float], IStreamClientEndpoint]


def endpoint(reactor: Any, place: str, port: int, seconds: float) -> IStreamClientEndpoint:
    """The endpoint at an IP address and port, or at a path (and no port) that of a local socket."""
    if not port:
        return UNIXClientEndpoint(reactor, place, timeout=seconds)
    kind = TCP6ClientEndpoint if ":" in place else TCP4ClientEndpoint
    return kind(reactor, place, port, timeout=seconds)


class Sessions:
    """Opens sessions.

    @param config: the configuration, now.
    @param in_thread: calls something that takes its time, and gives a Deferred of its result.
    @param logged: whether the log gets every command and reply.
    """

    _log = Logger()

    def __init__(
        self,
        config: Callable[[], Config],
        clock: IReactorTime,
        endpoint: Endpoint,
        in_thread: Callable[..., Deferred[Any]],
        logged: bool = False,
    ) -> None:
        self._logged = logged
        self._config = config
        self._clock = clock
        self._endpoint = endpoint
        self._in_thread = in_thread
        self._plain: Cache[str, bool] = Cache(clock.seconds, _REMEMBERED)

    async def open(self, hop: NextHop, host: str, address: str) -> Sender:
        """A session with one server, at one of its addresses.

        @raise SendingFailed: none, which says nothing about any message.
        """
        login = await self._login(hop.route)
        demand = "verify" if login is not None and not _on_this_machine(address) else hop.tls
        if hop.route.socket or (demand == "may" and self._plain.get(address)):
            return await self._open(hop.route, host, address, None, login)
        tls = await self._tls(demand, address if host.startswith("[") else host)
        try:
            return await self._open(hop.route, host, address, tls, login)
        except (NotSecure, HandshakeBroken) as failure:
            if demand != "may":
                raise
            TLS_GIVEN_UP(self._log, host=host, address=address, reason=failure.reason)
        self._plain.put(address, True, _PLAIN_FOR)
        return await self._open(hop.route, host, address, None, login)

    async def _open(self, route: Route, host: str, address: str, tls: ClientTLS | None, login: Login | None) -> Sender:
        config = self._config()
        place, port = (route.socket, 0) if route.socket else (address, route.port)
        at = self._endpoint(place, port, config.relay.connect_time)
        return await open_session(
            at,
            self._clock,
            config.hostname,
            tls=tls,
            login=login,
            host=host,
            lmtp=route.lmtp,
            logged=self._logged,
        )

    async def _tls(self, demand: str, name: str) -> ClientTLS:
        authorities = self._config().relay.authorities
        try:
            if demand != "verify":
                return ClientTLS(opportunistic(name), optional=demand == "may")
            # reads files
            return ClientTLS(await self._in_thread(verified, name, Path(authorities) if authorities else None))
        except (OSError, ValueError) as error:
            ERROR(self._log, what=f"TLS with {name}", reason=error)
            raise NotSecure(f"the certificate of {name} cannot be verified here") from None

    async def _login(self, route: Route) -> Login | None:
        if not route.user:
            return None
        try:
            if route.password_file is None:
                raise PasswordUnusable("no password_file")
            password = await self._in_thread(read_password, route.password_file)
        except PasswordUnusable as error:
            ERROR(self._log, what=f"login at {route.host} as {route.user}", reason=error)
            raise LoginFailed(f"no password here for {route.host}") from None
        return Login(route.user, password, self._in_thread)


def _on_this_machine(address: str) -> bool:
    return not address or ip_address(address).is_loopback
