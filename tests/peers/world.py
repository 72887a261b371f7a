"""A small internet in a process of its own: a name server, and mail servers on loopback addresses.

Each domain C{NAME.test} has a mail server of another character (L{CHARACTERS}). The process prints one JSON line with
its ports, then one for each copy of a message that a server has taken, before it is acknowledged: C{domain},
C{recipient}, C{digest} (of the content below the header) and C{replied}, whether the sender is going to be told in a
way it can understand. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial

import attrs

from tests.dns_server import Records, serving

#: Writes a reply.
Say = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]
#: Octets of a reply that is far too long, and of pieces in which it is sent.
HUGE, PIECE = 10 * 1024 * 1024, 64 * 1024
SLOW = 0.3


async def plainly(writer: asyncio.StreamWriter, reply: bytes) -> None:
    """As a server does."""
    writer.write(reply)
    await writer.drain()


async def dripping(writer: asyncio.StreamWriter, reply: bytes) -> None:
    """An octet at a time."""
    for octet in reply:
        await plainly(writer, bytes([octet]))
        await asyncio.sleep(0.002)


async def bare(writer: asyncio.StreamWriter, reply: bytes) -> None:
    """With bare LFs."""
    await plainly(writer, reply.replace(b"\r\n", b"\n"))


async def flooding(writer: asyncio.StreamWriter, reply: bytes) -> None:
    """Each reply a thousand times."""
    await plainly(writer, reply * 1000)


async def without_end(line: bytes, writer: asyncio.StreamWriter, reply: bytes) -> None:
    """Ten megabytes of C{line} before the reply itself."""
    piece = line * (PIECE // len(line))
    for _ in range(HUGE // len(piece)):
        await plainly(writer, piece)
    await plainly(writer, b"\r\n" + reply)


@attrs.frozen
class Character:
    """How a mail server behaves, and what must come of mail for it.

    @ivar state: in which a recipient ends.
    @ivar copies: how many of it are taken: exactly so many; C{None} where the server takes one at each attempt and does
        not say so.
    @ivar greylisting: the first attempt at each recipient is put off.
    @ivar answers: replies other than usual, by stage.
    @ivar drops: the stage at which it closes the connection instead of replying; C{"quit"} comes after the last reply.
    @ivar silent: the stage at which it says nothing, and goes on doing so.
    @ivar say: how it writes replies; C{says}, at which stages (all, where there are none).
    """

    state: str
    copies: int | None = 0
    pause: float = 0.0
    greylisting: bool = False
    answers: dict[str, bytes] = attrs.field(factory=dict)
    drops: str = ""
    silent: str = ""
    say: Say = plainly
    says: tuple[str, ...] = ()

    @property
    def understood(self) -> bool:
        """Whether its reply to a message says what it means."""
        return self.copies is not None


_DELIVERED, _FAILED, _EXPIRED = "delivered", "failed", "expired"
_ENDLESS_LINE, _ENDLESS_LINES = partial(without_end, b"x"), partial(without_end, b"250-more\r\n")
#: By the domain's name.
CHARACTERS: dict[str, Character] = {
    "good": Character(_DELIVERED, 1),
    "slow": Character(_DELIVERED, 1, pause=SLOW),
    "grey": Character(_DELIVERED, 1, greylisting=True),
    "refusing": Character(_FAILED, answers={"RCPT": b"550 5.1.1 Nobody of that name\r\n"}),
    "unwilling": Character(_FAILED, answers={"end": b"550 5.7.1 We do not want that\r\n"}),
    "drip": Character(_DELIVERED, 1, say=dripping),
    "hasty": Character(_DELIVERED, 1, drops="quit"),
    "silent": Character(_EXPIRED, silent="EHLO"),
    "drop-banner": Character(_EXPIRED, drops="banner"),
    "drop-ehlo": Character(_EXPIRED, drops="EHLO"),
    "drop-mail": Character(_EXPIRED, drops="MAIL"),
    "drop-rcpt": Character(_EXPIRED, drops="RCPT"),
    "drop-data": Character(_EXPIRED, drops="DATA"),
    "drop-content": Character(_EXPIRED, drops="content"),
    "drop-end": Character(_EXPIRED, None, drops="end"),
    "flood": Character(_EXPIRED, say=flooding),
    "huge-banner": Character(_EXPIRED, say=_ENDLESS_LINE, says=("banner",)),
    "huge-ehlo": Character(_EXPIRED, say=_ENDLESS_LINES, says=("EHLO",)),
    "huge-end": Character(_EXPIRED, None, say=_ENDLESS_LINES, says=("end",)),
    "bare": Character(_EXPIRED, say=bare),
    "bare-end": Character(_EXPIRED, None, say=bare, says=("end",)),
}
#: Domains without a mail server of their own: what comes of mail for them, and whether the good one takes it.
ELSEWHERE: dict[str, Character] = {
    "dead": Character(_EXPIRED),
    "null": Character(_FAILED),
    "nowhere": Character(_FAILED),
    "servfail": Character(_EXPIRED),
    "first-dead": Character(_DELIVERED, 1),
}
ALL = CHARACTERS | ELSEWHERE
_USUAL = {
    "banner": b"220 mx.test ESMTP\r\n",
    "EHLO": b"250-mx.test\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
    "DATA": b"354 Go on\r\n",
    "quit": b"221 2.0.0 Bye\r\n",
}


class Gone(Exception):
    """We have closed the connection."""


@attrs.define
class MailServer:
    """One of them.

    @ivar seen: recipients for which there was an attempt.
    """

    domain: str
    character: Character
    seen: set[str] = attrs.field(factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk with one client."""
        try:
            with suppress(Gone, OSError, asyncio.IncompleteReadError):
                await self._reply(writer, "banner")
                await self._converse(reader, writer)
        finally:
            with suppress(OSError):
                writer.close()
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        while line := await reader.readline():
            verb = line[:4].decode("latin-1").upper().strip()
            if verb in ("MAIL", "RSET"):
                recipients.clear()
            if verb == "RCPT":
                recipients += await self._recipient(line, writer)
            elif verb == "DATA" and not recipients:
                await self._write(writer, verb, b"503 5.5.1 Nobody to take it\r\n")
            else:
                await self._reply(writer, "quit" if verb == "QUIT" else verb)
            if verb == "DATA" and recipients:
                await self._content(reader, writer, recipients)

    async def _recipient(self, line: bytes, writer: asyncio.StreamWriter) -> list[str]:
        recipient = line.partition(b"<")[2].partition(b">")[0].decode()
        if self.character.greylisting and recipient not in self.seen:
            self.seen.add(recipient)
            await self._write(writer, "RCPT", b"451 4.7.1 Come again\r\n")
            return []
        await self._reply(writer, "RCPT")
        return [] if "RCPT" in self.character.answers else [recipient]

    async def _content(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recipients: list[str]) -> None:
        digest, in_header = hashlib.sha256(), True
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            if self.character.drops == "content":
                raise Gone
            if in_header:
                in_header = line != b"\r\n"
            else:
                digest.update(line.removeprefix(b"."))
        await asyncio.sleep(self.character.pause)
        if "end" not in self.character.answers:
            for recipient in recipients:
                self._tell(recipient, digest.hexdigest())
        await self._reply(writer, "end")
        if self.character.drops == "quit":
            raise Gone

    def _tell(self, recipient: str, digest: str) -> None:
        replied = self.character.understood
        print(json.dumps({"domain": self.domain, "recipient": recipient, "digest": digest, "replied": replied}))
        sys.stdout.flush()

    async def _reply(self, writer: asyncio.StreamWriter, stage: str) -> None:
        if self.character.drops == stage:
            raise Gone
        if self.character.silent == stage:
            await asyncio.Event().wait()
        usual = _USUAL.get(stage, b"250 2.0.0 Good\r\n")
        await self._write(writer, stage, self.character.answers.get(stage, usual))

    async def _write(self, writer: asyncio.StreamWriter, stage: str, reply: bytes) -> None:
        says = self.character.says
        await (self.character.say if not says or stage in says else plainly)(writer, reply)


def _address(number: int) -> str:
    return f"127.0.0.{number + 2}"


def _bound() -> list[socket.socket]:
    """A socket for each character's address, all on one port, which nobody has."""
    while True:
        sockets = [socket.create_server((_address(0), 0))]
        port = sockets[0].getsockname()[1]
        try:
            return sockets + [socket.create_server((_address(n), port)) for n in range(1, len(CHARACTERS))]
        except OSError:
            for each in sockets:
                each.close()


def records() -> Records:
    """What the name server knows."""
    found: dict[str, dict[str, list[str]]] = {}
    for number, name in enumerate(CHARACTERS):
        found[f"{name}.test"] = {"MX": [f"10 mx.{name}.test."]}
        found[f"mx.{name}.test"] = {"A": [_address(number)]}
    found["mx.dead.test"] = {"A": [_address(len(CHARACTERS))]}
    found["dead.test"] = {"MX": ["10 mx.dead.test."]}
    found["null.test"] = {"MX": ["0 ."]}
    found["first-dead.test"] = {"MX": ["10 mx.dead.test.", "20 mx.good.test."]}
    return found


async def serve_mail(sockets: list[socket.socket]) -> None:
    """Run the mail servers until standard input ends."""
    for (name, character), bound in zip(CHARACTERS.items(), sockets, strict=True):
        serve: Callable[..., Coroutine[None, None, None]] = MailServer(f"{name}.test", character).serve
        await asyncio.start_server(serve, sock=bound)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    """The process."""
    sockets = _bound()
    with serving(records()) as names:
        names.servfail.add("servfail.test")
        print(json.dumps({"resolver": names.port, "port": sockets[0].getsockname()[1]}))
        sys.stdout.flush()
        asyncio.run(serve_mail(sockets))


if __name__ == "__main__":
    main()
