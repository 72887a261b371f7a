"""Listening on sockets that somebody else has bound, and that others listen on too.

A connection that comes wakes everybody; each takes one at a turn, so that a burst is shared. Nothing done here may
change the socket for the others: it is neither shut down nor, of a local one, is the file touched.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure


class _OneAtATime:
    """Twisted would take as many connections at a turn as there are."""

    @property
    def numberAccepts(self) -> int:
        """Connections at a turn."""
        return 1

    @numberAccepts.setter
    def numberAccepts(self, number: int) -> None:
        """Stays one."""


class InheritedPort(_OneAtATime, tcp.Port):
    """A TCP socket."""


class InheritedLocalPort(_OneAtATime, unix.Port):
    """A local socket. Its file and the file's mode are its owner's, unlike with what Twisted adopts."""

    factory: Any
    fileno: Any
    _shouldShutdown = False

    def startListening(self) -> None:
        """Take connections."""
        inherited: Any = self._preexistingSocket
        self.factory.doStart()
        self.connected = True
        self.socket, self.fileno = inherited, inherited.fileno
        self._preexistingSocket = None
        self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        """Take no more."""
        tcp.Port.connectionLost(self, reason)


def listen(reactor: Any, descriptor: int, factory: IProtocolFactory) -> IListeningPort:
    """Take connections from an inherited socket; its descriptor is ours to close, and closed."""
    kinds: Any = {socket.AF_UNIX: InheritedLocalPort}
    with socket.socket(fileno=descriptor) as inherited:
        inherited.setblocking(False)
        family = inherited.family
        adopt = kinds.get(family, InheritedPort)._fromListeningDescriptor
        given = (descriptor,) if family == socket.AF_UNIX else (descriptor, family)
        port: IListeningPort = adopt(reactor, *given, factory)
    port.startListening()
    return port
