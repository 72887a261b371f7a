"""Mixed mail at a steady rate: to mailboxes and elsewhere, on new and kept connections, in the clear and under TLS, by
users who log in, and by clients who go away in any state.

Each message has a number, by which it is found again, and shows at its end whether it is whole.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from random import Random

import attrs

from bench.servers import HOST
from tests.peers.server import DEADLINE

#: Of the users there are, these get mail.
USERS = [f"user{number}" for number in range(1, 9)]
#: Mail for the one arrives; for the other it comes back after a while.
ELSEWHERE, DEAD = "elsewhere.example", "dead.example"
_ABRUPT = struct.pack("ii", 1, 0)
#: How a session goes, and of a hundred of them how many do.
_MANNERS = {"new": 35, "kept": 20, "tls": 10, "submission": 10, "gone": 25}


def content(number: int, size: int) -> bytes:
    """A message of about so many octets."""
    filling = b"Nothing may be lost, and nothing torn.\r\n" * (size // 40)
    return b"From: <user1@%s>\r\nX-Number: %d\r\n\r\n%send %d\r\n" % (HOST.encode(), number, filling, number)


@attrs.frozen
class Doors:
    """Where a server listens, and how somebody logs in.

    @ivar mx: a port with STARTTLS; C{submission}: one for users.
    """

    mx: int
    submission: int
    login: tuple[str, str]


class Traffic:
    """What some sessions send, until they are told to stop.

    @param rate: messages a second.
    @ivar local: numbers of what was acknowledged for mailboxes; C{relayed}, for elsewhere; C{dead}, for there.
    @ivar unsure: numbers of what was sent, and the client did not stay for the reply.
    @ivar manners: how many sessions of each there were.
    @ivar refused: replies that nobody expected.
    """

    def __init__(self, doors: Doors, rate: float, seed: int, sessions: int = 16) -> None:
        self.local: set[int] = set()
        self.relayed: set[int] = set()
        self.dead: set[int] = set()
        self.unsure: set[int] = set()
        self.manners: Counter[str] = Counter()
        self.refused: list[str] = []
        self._doors = doors
        self._rate = rate
        self._numbers = count(1)
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        randoms = [Random(f"{seed} {number}") for number in range(sessions)]
        self._threads = [threading.Thread(target=self._work, args=(random,), daemon=True) for random in randoms]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let all finish what they are about."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * DEADLINE)

    def _turns(self, many: int) -> Iterator[int]:
        """The numbers of so many messages, each when its time has come."""
        for number, _ in zip(self._numbers, range(many), strict=False):
            if self._stop.wait(max(0.0, self._begun + number / self._rate - time.monotonic())):
                return
            yield number

    def _work(self, random: Random) -> None:
        while not self._stop.is_set():
            [manner] = random.choices(list(_MANNERS), list(_MANNERS.values()))
            try:
                getattr(self, f"_{manner}")(random)
                self.manners[manner] += 1
            except (OSError, smtplib.SMTPException) as trouble:
                self.refused.append(f"{manner}: {trouble!r}"[:300])

    def _new(self, random: Random) -> None:
        for number in self._turns(1):
            with smtplib.SMTP("127.0.0.1", self._doors.mx, timeout=DEADLINE) as client:
                self._send(client, number, random)

    def _kept(self, random: Random) -> None:
        with smtplib.SMTP("127.0.0.1", self._doors.mx, timeout=DEADLINE) as client:
            for number in self._turns(random.randint(2, 10)):
                self._send(client, number, random)

    def _tls(self, random: Random) -> None:
        for number in self._turns(1):
            with smtplib.SMTP("127.0.0.1", self._doors.mx, timeout=DEADLINE) as client:
                client.starttls(context=self._context)
                self._send(client, number, random)

    def _submission(self, random: Random) -> None:
        with smtplib.SMTP("127.0.0.1", self._doors.submission, timeout=DEADLINE) as client:
            client.starttls(context=self._context)
            client.login(*self._doors.login)
            for number in self._turns(random.randint(1, 3)):
                self._send(client, number, random)

    def _send(self, client: smtplib.SMTP, number: int, random: Random) -> None:
        among, recipients = self._addressed(number, random)
        size = random.choice((50, 500, 4000, 4000, 4000, 40_000, 400_000 if random.random() < 0.1 else 4000))
        client.sendmail(f"user1@{HOST}", recipients, content(number, size))
        for each in among:
            each.add(number)

    def _addressed(self, number: int, random: Random) -> tuple[list[set[int]], list[str]]:
        """Where a message is noted, and to whom it goes."""
        there = [f"{random.choice(USERS)}@{HOST}"]
        draw = random.random()
        if draw < 0.55:
            return [self.local], there
        if draw < 0.65:
            return [self.local], [f"{user}@{HOST}" for user in USERS]
        if draw < 0.9:
            return [self.relayed], [f"zed@{ELSEWHERE}"]
        if draw < 0.97:
            return [self.local, self.relayed], [*there, f"zed@{ELSEWHERE}"]
        return [self.dead], [f"zed@{DEAD}"]

    def _gone(self, random: Random) -> None:
        """Go away in any state, politely or not."""
        for number in self._turns(1):
            address = f"{random.choice(USERS)}@{HOST}" if random.random() < 0.7 else f"zed@{ELSEWHERE}"
            octets = content(number, random.choice((500, 400_000)))
            said = [b"EHLO gone.example\r\n", b"MAIL FROM:<>\r\n", f"RCPT TO:<{address}>\r\n".encode(), b"DATA\r\n"]
            said += [octets[: len(octets) // 2], octets[len(octets) // 2 :] + b".\r\n"]
            turns = random.randint(0, len(said))
            if turns == len(said):
                self.unsure.add(number)
            with socket.create_connection(("127.0.0.1", self._doors.mx), DEADLINE) as connection:
                with suppress(TimeoutError):
                    self._converse(connection, said[:turns], random)
                if random.random() < 0.5:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)

    def _converse(self, connection: socket.socket, said: list[bytes], random: Random) -> None:
        """Wait for the reply to each but the last; in the midst of a TLS handshake, sometimes, for none."""
        connection.recv(4096)
        for turn in said:
            connection.sendall(turn)
            if turn[:4] in (b"EHLO", b"MAIL", b"RCPT", b"DATA") and turn is not said[-1]:
                connection.recv(4096)
        if len(said) == 1 and random.random() < 0.5:
            connection.recv(4096)
            connection.sendall(b"STARTTLS\r\n")
            connection.recv(4096)
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
