"""What the tests of this room share: two channels joined in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.queued import QueuedMessage
from mailagent.workers.channel import Channel


class Line:
    """Joins two channels: what one writes, the other has, at once and in order."""

    def __init__(self, one: Channel, other: Channel) -> None:
        self._ends = (one, other)
        self._under_way: deque[tuple[Channel, bytes]] = deque()
        self._carrying = False
        for channel, peer in ((one, other), (other, one)):
            channel.makeConnection(_End(self, peer))

    def carry(self, to: Channel, octets: bytes) -> None:
        self._under_way.append((to, octets))
        if self._carrying:
            return
        self._carrying = True
        while self._under_way:
            channel, octets = self._under_way.popleft()
            channel.dataReceived(octets)
        self._carrying = False

    def cut(self) -> None:
        for channel in self._ends:
            channel.connectionLost(Failure(ConnectionDone()))


class _End(StringTransport):
    def __init__(self, line: Line, peer: Channel) -> None:
        super().__init__()
        self._line = line
        self._peer = peer

    def write(self, data: bytes) -> None:
        self._line.carry(self._peer, data)

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._line.cut()


class NowReactor:
    """What blocks in a thread for the reactor is done at once."""

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


def message(id_: str = "m1", *to: str) -> QueuedMessage:
    recipients = tuple(Address(name, "elsewhere.example") for name in to or ("bob",))
    return QueuedMessage(id_, Envelope(None, recipients), b"Received: x\n", None)
