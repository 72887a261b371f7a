"""C{kill -9} under load: whatever was acknowledged is there, once and whole, and nothing half-written is visible."""

from __future__ import annotations

import itertools
import re
import smtplib
import threading
from collections.abc import Iterator

from tests.peers.conftest import StartServer
from tests.peers.mail import as_sent, new
from tests.peers.server import DEADLINE, Server

ROUNDS = 5
SESSIONS = 8
#: Messages acknowledged in a round before the server is killed in the midst of the next ones.
ENOUGH = 60


def text(marker: int) -> bytes:
    """A message that shows its number first and last, of a size from 50 octets to 400 KB (kept in a file)."""
    lines = (1, 10, 100, 1000, 8000)[marker % 5]
    filling = b"Nothing may be lost, and nothing torn. %d\r\n" % marker * lines
    return b"X-Marker: %d\r\n\r\n%send %d\r\n" % (marker, filling, marker)


class Load:
    """Several sessions that send until the server is gone, and remember what it took."""

    def __init__(self, server: Server, markers: Iterator[int]) -> None:
        self.acknowledged: set[int] = set()
        self._server = server
        self._markers = markers
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SESSIONS)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", self._server.port, timeout=DEADLINE) as client:
                while True:
                    self._send_one(client)
        except (OSError, smtplib.SMTPServerDisconnected):
            return  # it was killed

    def _send_one(self, client: smtplib.SMTP) -> None:
        with self._changed:
            marker = next(self._markers)
        client.sendmail("ann@example.org", ["user1@hostmeister.de"], text(marker))
        with self._changed:
            self.acknowledged.add(marker)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Return when so many messages have been acknowledged."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= count, DEADLINE)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def marker_of(message: bytes) -> int:
    """A delivered message's number, if it is whole."""
    sent = as_sent(message)
    found = re.match(rb"X-Marker: (\d+)\n", sent)
    assert found, message[:500]
    marker = int(found[1])
    assert sent == text(marker).replace(b"\r\n", b"\n"), f"message {marker} is torn"
    return marker


def test_a_killed_server_has_kept_what_it_acknowledged(start_server: StartServer) -> None:
    markers = itertools.count()
    acknowledged: set[int] = set()
    for _ in range(ROUNDS):
        server = start_server()
        load = Load(server, markers)
        load.wait_for(ENOUGH)
        server.kill()
        load.join()
        acknowledged |= load.acknowledged
    restarted = start_server()
    restarted.wait_for("listening")
    found = [marker_of(message) for message in new(restarted.mailboxes / "user1")]
    assert len(found) == len(set(found)), "nothing was sent twice, so nothing may be there twice"
    assert acknowledged <= set(found)
    restarted.stop()
