"""A server in memory for the sending side: it keeps to its script, and answers pipelined commands one by one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.sender import Sender
from mailagent.smtp.sending_failed import SendingFailed
from mailagent.smtp.timeouts import Timeouts
from tests.deferreds import value

ANN, BOB, EVE = Address("ann", "example.org"), Address("bob", "example.org"), Address("eve", "example.com")
TO_BOTH = Envelope(EVE, (ANN, BOB))
CONTENT = (b"Subject: x\n\n", b"text\n")
#: As replies: close the connection; say nothing any more.
DROP, SILENCE = "", "…"
OK = "250 2.0.0 OK"
TIMEOUTS = Timeouts(greeting=1, command=2, mail=3, rcpt=4, data=5, block=6, verdict=7, quit=8)
_USUAL = {"greeting": "220 mx", "EHLO": "250 mx", "DATA": "354 Go on", "QUIT": "221 Bye", "": OK}
Act = Callable[[Sender], Coroutine[Deferred[Any], Any, Any]]


@attrs.define
class OutgoingServer:
    """Answers a command by the longest key of C{script} that it begins with; C{.} is the key of a message's end.

    @ivar verdicts: the replies to a message's end, instead of one by the script.
    @ivar lines: the commands, and the ends of messages.
    @ivar messages: as they came, without the end mark.
    """

    script: Mapping[str, str]
    verdicts: list[str] = attrs.field(factory=list)
    lines: list[str] = attrs.field(factory=list, init=False)
    messages: list[bytes] = attrs.field(factory=list, init=False)
    over: bool = attrs.field(default=False, init=False)
    silent: bool = attrs.field(default=False, init=False)
    _buffer: bytes = attrs.field(default=b"", init=False)
    _in_data: bool = attrs.field(default=False, init=False)

    def receive(self, octets: bytes) -> bytes:
        """The replies to what has arrived; C{over}, whether the connection is then closed."""
        self._buffer += octets
        replies = b""
        while not (self.over or self.silent):
            if self._in_data:
                found, end, rest = (b"\r\n" + self._buffer).partition(b"\r\n.\r\n")
                if not end:
                    break
                self.messages.append(found[2:])
                self._in_data, self._buffer = False, rest
                for verdict in self.verdicts or [self._said(".")]:
                    replies += self._reply(verdict)
                self.lines.append(".")
            elif b"\r\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\r\n")
                self.lines.append(line.decode())
                reply = self._said(self.lines[-1])
                self._in_data = line == b"DATA" and reply.startswith("354")
                replies += self._reply(reply)
            else:
                break
        return replies

    def greet(self) -> bytes:
        return self._reply(self._said("greeting"))

    def _said(self, line: str) -> str:
        script = _USUAL | dict(self.script)
        return script[max((key for key in script if line.startswith(key)), key=len)]

    def _reply(self, reply: str) -> bytes:
        if self.over or self.silent:
            return b""
        self.over = reply == DROP or reply.startswith("421")
        self.silent = reply == SILENCE
        return b"" if reply in (DROP, SILENCE) else reply.encode() + b"\r\n"


@attrs.define(slots=False)
class Exchange:
    """C{act} with a sender whose server is C{server}, which sends so many octets at a time.

    @ivar results: what came of it, once something has: a value or a L{Failure}.
    """

    server: OutgoingServer
    act: Act
    size: int = 65536
    lmtp: bool = False
    verified: bool = False
    clock: Clock = attrs.field(factory=Clock, init=False)
    transport: StringTransport = attrs.field(factory=StringTransport, init=False)
    results: list[Any] = attrs.field(factory=list, init=False)
    segments: list[bytes] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.channel = ClientChannel(self.clock, TIMEOUTS.greeting)
        self.sender = Sender(self.channel, "client.example", TIMEOUTS, "mx.example", self.lmtp)
        self.sender.verified = self.verified
        self.channel.makeConnection(self.transport)

        async def greet_and_act() -> Any:
            await self.sender.greet()
            return await self.act(self.sender)

        self.deferred = Deferred.fromCoroutine(greet_and_act()).addBoth(self.results.append)
        self._send(self.server.greet())
        self.run()

    def run(self) -> None:
        """Take octets to and fro until nothing more happens; then let time pass, if the server is silent."""
        while written := self._take():
            self._send(self.server.receive(written))
        if self.server.silent:
            self.clock.advance(60)

    def _take(self) -> bytes:
        written: bytes = b""
        while True:
            written += self.transport.value()
            if self.transport.value():
                self.segments.append(self.transport.value())
            self.transport.clear()
            if self.transport.producer is None:
                return written
            self.transport.producer.resumeProducing()

    def _send(self, octets: bytes) -> None:
        for start in range(0, len(octets), self.size):
            self.channel.dataReceived(octets[start : start + self.size])
        if self.server.over and not self.transport.disconnected:
            self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def result(self) -> Any:
        return value(*self.results)


def submitting(
    script: Mapping[str, str],
    envelope: Envelope = TO_BOTH,
    content: Any = CONTENT,
    still_ours: Any = None,
    **options: Any,
) -> Exchange:
    verdicts = options.pop("verdicts", [])
    return Exchange(
        OutgoingServer(script, verdicts), lambda sender: sender.submit(envelope, content, still_ours), **options
    )


def outcomes(exchange: Exchange) -> list[Outcome]:
    try:
        return list(exchange.result)
    except SendingFailed as failure:
        return list(failure.outcomes)


def replies(exchange: Exchange) -> list[str]:
    return [str(outcome.reply) for outcome in outcomes(exchange)]
