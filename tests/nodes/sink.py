"""A mail server that takes everything, and remembers who brought it and how much it was just about to acknowledge."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import attrs

from tests.peers.outbound_site import LONG

_REPLIES = {
    b"EHLO": b"250-sink.test\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}


@attrs.frozen
class Copy:
    """A copy that was taken.

    @ivar digest: of its content below the header.
    @ivar peer: the address of who brought it.
    """

    recipient: str
    digest: str
    peer: str


class Sink:
    """Listens at C{address} in a thread of its own; C{port} is where.

    @param pause: seconds between taking a message and saying so.
    @ivar taken: all copies, in their order.
    """

    def __init__(self, address: str, pause: float) -> None:
        self.taken: list[Copy] = []
        self.port = 0
        self._pause = pause
        self._unsaid: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(address,), daemon=True)
        self._thread.start()
        self._wait(lambda: bool(self.port), "listener")

    def wait_for(self, copies: int) -> None:
        """Return when so many copies have been taken."""
        self._wait(lambda: len(self.taken) >= copies, f"{copies} copies")

    def wait_for_unsaid(self, *peers: str) -> None:
        """Return when something has been taken from one of them who has not been told."""
        self._wait(lambda: any(self._unsaid[peer] for peer in peers), f"copies of {peers} under way")

    def wait_for_more(self, before: int, *peers: str) -> None:
        """Return when each of them has brought one after so many copies."""
        self._wait(lambda: {copy.peer for copy in self.taken[before:]} >= {*peers}, f"more of {peers}")

    def _wait(self, happened: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(happened, LONG), f"no {what}; {Counter(copy.peer for copy in self.taken)}"

    def end(self) -> None:
        """Listen no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONG)

    def _run(self, address: str) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, address, 0, limit=1 << 20))
        with self._changed:
            self.port = server.sockets[0].getsockname()[1]
            self._changed.notify_all()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.write(b"220 sink.test ESMTP\r\n")
            await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = ""
        while line := await reader.readline():
            verb = line[:4].upper().strip()
            if verb == b"RCPT":
                recipient = line.partition(b"<")[2].partition(b">")[0].decode()
            writer.write(_REPLIES.get(verb, b"250 2.0.0 Good\r\n"))
            if verb == b"DATA":
                await self._take(reader, writer, recipient)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recipient: str) -> None:
        octets = await reader.readuntil(b"\r\n.\r\n")
        content = octets[:-3].partition(b"\r\n\r\n")[2].replace(b"\r\n.", b"\r\n")
        peer = writer.get_extra_info("peername")[0]
        self._note(peer, 1, Copy(recipient, hashlib.sha256(content).hexdigest(), peer))
        try:
            await asyncio.sleep(self._pause)
            writer.write(b"250 2.0.0 Taken\r\n")
            await writer.drain()
        finally:
            self._note(peer, -1)

    def _note(self, peer: str, more: int, copy: Copy | None = None) -> None:
        with self._changed:
            self._unsaid[peer] += more
            if copy is not None:
                self.taken.append(copy)
            self._changed.notify_all()
