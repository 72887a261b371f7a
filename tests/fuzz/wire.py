"""A connection in memory to a listener of any role, with TLS or what passes for it, and a proxy's header ahead."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet import _newtls
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport, ITLSTransport
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from mailagent.smtp.proxied import ProxiedFactory, Proxies
from mailagent.smtp.session import Session
from mailagent.smtp.tls import CertificatePlan, ServerTLS, read
from tests.fuzz.scene import TLS, Scene
from tests.maildir.support import Threads
from tests.memory_server import MemoryServer
from tests.smtp.certificates import write_pair

EVERYBODY = Proxies.of(["0.0.0.0/0"])


@cache
def server_tls() -> ServerTLS:
    """The TLS of all servers here. Its certificate's files are not looked at again."""
    tls = ServerTLS(lambda: 0.0)
    with tempfile.TemporaryDirectory() as directory:
        tls.use(read(CertificatePlan(write_pair(Path(directory), "mx.example.org"))))
    return tls


@implementer(ITLSTransport)
class Wire(StringTransport):  # type: ignore[misc]  # what no session asks for is left out
    """The server's end of a connection, TLS included as Twisted's own transports include it.

    @ivar in_clear: how many octets were written before TLS began; C{None}: it has not.
    """

    _tlsClientDefault = False
    TLS = False
    streamingProducer = True
    protocol: Any

    def __init__(self, scene: Scene) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", scene.peer, 40000))
        self._pretended = scene.tls is TLS.PRETENDED
        self.in_clear: int | None = None
        if scene.tls is TLS.AROUND:
            directlyProvides(self, ITLSTransport, ISSLTransport)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed in memory."""

    def startTLS(self, tls: Any, normal: bool = True) -> None:
        if self._pretended:
            directlyProvides(self, ITLSTransport, ISSLTransport)
        else:
            self.in_clear = len(self.value())
            _newtls.startTLS(self, tls, normal, StringTransport)

    def write(self, data: bytes) -> None:
        self._upper.write(data) if self.TLS else super().write(data)

    def loseConnection(self) -> None:
        self._upper.loseConnection() if self.TLS else super().loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        (self._upper.registerProducer if self.TLS else super().registerProducer)(producer, streaming)

    def unregisterProducer(self) -> None:
        (self._upper.unregisterProducer if self.TLS else super().unregisterProducer)()

    @property
    def _upper(self) -> Any:
        return self.protocol

    def getHandle(self) -> Any:
        """Where TLS is pretended: its version and cipher."""
        return self

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    @property
    def closed(self) -> bool:
        """Whether the server has closed."""
        return self.disconnecting or bool(self.disconnected)


class Client:
    """A client that has connected."""

    def __init__(self, server: MemoryServer, scene: Scene) -> None:
        self._server = server
        self.wire = Wire(scene)
        factory = server.factory.listener(scene.listener_role, EVERYBODY if scene.xclient else None)
        if scene.proxied:
            factory = ProxiedFactory(factory, EVERYBODY, server.clock)
        protocol = factory.buildProtocol(self.wire.getPeer())
        assert protocol is not None
        self.wire.protocol = protocol
        protocol.makeConnection(self.wire)
        self.implicit_tls = scene.listener_role.implicit_tls

    @property
    def session(self) -> Session | None:
        """The server's session, if it has begun."""
        return next(iter(self._server.factory.sessions), None)

    @property
    def received(self) -> bytes:
        """What the server has written in the clear, or where TLS is pretended."""
        return b"" if self.implicit_tls else self._written[: self.wire.in_clear]

    @property
    def received_in_tls(self) -> bytes:
        """What it has written in TLS."""
        return self._written[len(self.received) :]

    @property
    def _written(self) -> bytes:
        return bytes(self.wire.value())

    def send(self, octets: bytes) -> None:
        """One segment arrives at the server."""
        self._protocol.dataReceived(octets)

    def leave(self, threads: Threads, half_closing: bool) -> None:
        """The client goes, when it has its answers; or before its last ones, having said that it sends no more."""
        if half_closing and not self.wire.closed:
            half = IHalfCloseableProtocol(self._protocol, None)
            if half is not None:
                half.readConnectionLost()
        threads.finish_all()
        self._protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def _protocol(self) -> Protocol:
        """Whoever gets the octets now."""
        protocol: Protocol = self.wire.protocol
        return protocol


@implementer(ILogObserver)
class Trouble:
    """Sees what the server logs of trouble on its own side, of which there is none here.

    @ivar seen: what it was.
    """

    def __init__(self) -> None:
        self.seen: list[object] = []

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] in (LogLevel.error, LogLevel.critical):
            what = str(event.get("what", event.get("log_failure")))
            if not what.startswith("proxy "):  # a proxy's bad header is told as an error, and is none of ours
                self.seen.append((what, event.get("reason")))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While this lasts."""
        globalLogPublisher.addObserver(self)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(self)
