"""Listening on a socket that somebody else has bound."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.testing import MemoryReactorClock

from mailagent.workers.listening import InheritedLocalPort, InheritedPort, listen


class Reactor(MemoryReactorClock):
    """Lets real ports be added."""

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)


def accepting(reactor: Reactor, bound: socket.socket) -> tuple[Any, list[str]]:
    """A port on a duplicate of the socket, and the peers it takes."""
    taken: list[str] = []

    class Server(Factory[Any]):
        def buildProtocol(self, addr: Any) -> Any:
            taken.append(str(addr))
            return None

    return listen(reactor, bound.dup().detach(), Server()), taken


def test_connections_are_taken_one_at_a_turn() -> None:
    reactor = Reactor()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port, taken = accepting(reactor, bound)
        assert isinstance(port, InheritedPort)
        clients = [socket.create_connection(bound.getsockname()) for _ in range(3)]
        for turn in range(1, 4):
            port.doRead()
            assert len(taken) == turn
        for client in clients:
            client.close()
        port.connectionLost(connectionDone)


def test_to_listen_no_more_leaves_the_socket_to_the_others() -> None:
    reactor = Reactor()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port, _ = accepting(reactor, bound)
        port.connectionLost(connectionDone)
        with socket.create_connection(bound.getsockname()):
            bound.accept()[0].close()


def test_a_local_sockets_file_keeps_its_mode_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        path.chmod(0o660)
        bound.listen()
        port, taken = accepting(Reactor(), bound)
        assert isinstance(port, InheritedLocalPort)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            port.doRead()
        assert len(taken) == 1
        port.connectionLost(connectionDone)
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as another:
            another.connect(str(path))
