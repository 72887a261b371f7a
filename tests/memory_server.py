"""A whole server in memory: real session, reception, directory and mailstore, over a file system and a wire that
are not there. Its tests decide when threads work, what the time is and what the disk does."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMessageDeliveryFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent.budget import Budget
from mailagent.config import AuthSettings, Config, HostSettings, Limits, MailboxSettings, WhitelistSettings
from mailagent.config.values import ConfiguredPath, Count, Domain, Switch, Target, Targets, UserName
from mailagent.directory.users import Users
from mailagent.directory.users_file import UsersFile
from mailagent.directory.whitelist import Whitelist
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import Chunks, IQueue
from mailagent.maildir.layout import prepare
from mailagent.maildir.mailstore import Maildirs
from mailagent.maildir.memory import MemoryFiles
from mailagent.parts import authentication
from mailagent.reception.submission import SubmissionRealm
from mailagent.reception.transaction import Reception
from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.login import Authentication
from mailagent.smtp.role import LMTP, MX, SUBMISSION, Role
from mailagent.smtp.session import Session
from tests.maildir.support import Events, run_now

ROOT = "/mail"
SPOOL = "/spool"
STRANGER = "192.0.2.7"
MIDNIGHT = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 +0000


def make_config(**limits: Any) -> Config:
    """The configuration of all these tests: two hosts that share users, and two with their own."""
    return Config(
        hostname=Domain("mx.example.org"),
        whitelist=WhitelistSettings(
            hosts=(Domain("hostmeister.de"), Domain("hostgator.com")),
            users=(UserName("user1"), UserName("user2")),
        ),
        hosts={
            Domain("example.org"): HostSettings(
                users=(UserName("ann"), UserName("bob")),
                aliases={
                    UserName("sales"): Targets((Target("ann"), Target("bob"))),
                    UserName("abroad"): Targets((Target("far@elsewhere.example"),)),
                    UserName("team"): Targets((Target("ann"), Target("far@elsewhere.example"), Target("b@c.example"))),
                    UserName("owner-team"): Targets((Target("bob"),)),
                },
            ),
            Domain("bücher.example"): HostSettings(users=(UserName("jörg"),)),
        },
        mailboxes=MailboxSettings(ConfiguredPath(ROOT)),
        limits=Limits(**limits),
    )


def segments(octets: bytes) -> list[bytes]:
    """Octets cut behind each command whose answer decides how to go on."""
    return [octets[start:stop] for start, stop in itertools.pairwise(_cuts(octets))]


def _cuts(octets: bytes) -> list[int]:
    ends = re.finditer(rb"(?:\A|(?<=\n))(?:DATA|STARTTLS|AUTH)\b[^\r\n]*\r\n", octets, re.IGNORECASE)
    return sorted({0, *(found.end() for found in ends), len(octets)})


@attrs.define(eq=False)
class Connection:
    """A client's end of a session, without a client."""

    session: Session
    transport: StringTransport
    _clock: Clock = attrs.field(factory=Clock)
    _seen: int = 0

    def send(self, octets: bytes) -> bytes:
        """Deliver octets to the session, as one who pipelines does: a segment ends where an answer must be awaited
        (RFC 2920 section 3.1). What the session has written since the last look."""
        for segment in segments(octets):
            self.session.dataReceived(segment)
        return self.received()

    def send_at_once(self, octets: bytes) -> bytes:
        """The same in one segment, whatever is in it."""
        self.session.dataReceived(octets)
        return self.received()

    def received(self) -> bytes:
        """What the session has written since the last look, once it has had all its turns."""
        while any(call.getTime() <= self._clock.seconds() for call in self._clock.getDelayedCalls()):
            self._clock.advance(0)
        written = bytes(self.transport.value())
        fresh, self._seen = written[self._seen :], len(written)
        return fresh

    def lose(self, *, cleanly: bool = False) -> None:
        """The connection is gone."""
        self.session.connectionLost(Failure(ConnectionDone() if cleanly else ConnectionLost()))

    def finish(self) -> None:
        """What a transport does once it was told to close."""
        if self.closed:
            self.lose(cleanly=True)

    @property
    def closed(self) -> bool:
        """Whether the session has asked for the connection's end."""
        return bool(self.transport.disconnecting)

    def greet(self, hello: bytes = b"EHLO client.example\r\n") -> None:
        """Get banner and greeting out of the way."""
        assert self.received().startswith(b"220 ")
        assert self.send(hello).startswith(b"250")


class StaticUsers(Users):
    """Users of a file that is not there and does not change."""

    def __init__(self, run_in_thread: Callable[..., Any], seconds: Callable[[], float], file: UsersFile) -> None:
        super().__init__("", run_in_thread, seconds)
        self.take_up(file)

    def refresh(self) -> Deferred[None]:
        return succeed(None)


@implementer(IQueue)
class MemoryQueue:
    """A queue that keeps what it is given.

    @ivar messages: with their content, in the order in which they came.
    @ivar trouble: what C{enqueue} raises, and C{enqueue_small} fails with.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[QueuedMessage, bytes]] = []
        self.trouble: Exception | None = None

    def enqueue(self, messages: Sequence[QueuedMessage], content: Chunks) -> None:
        if self.trouble is not None:
            raise self.trouble
        shared = b"".join(content())
        self.messages += [(message, shared if message.body is None else message.body) for message in messages]

    def enqueue_small(self, messages: Sequence[QueuedMessage], content: bytes) -> Deferred[None]:
        return execute(self.enqueue, messages, lambda: iter([content]))


class MemoryServer:
    """A server and what it runs on.

    @param deliveries: stands in for our own reception.
    @param run_in_thread: by default jobs are done at once.
    @param users: those who may log in; on loopback, without TLS.
    @param role: what the listener is for; submission where there are users, unless told otherwise.
    @param queue: where mail for elsewhere goes; by default there is none.
    @param reception: further settings of the L{Reception}.
    @ivar pauses: the seconds each failed login would have waited.
    """

    def __init__(
        self,
        deliveries: IMessageDeliveryFactory | None = None,
        run_in_thread: Callable[..., Any] = run_now,
        directory: Any = None,
        tls: IOpenSSLServerConnectionCreator | None = None,
        users: UsersFile | None = None,
        role: Role | None = None,
        queue: IQueue | None = None,
        reception: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        self.config = make_config(**limits)
        self.clock = Clock()
        self.clock.advance(MIDNIGHT)
        self.files = MemoryFiles(self.clock.seconds)
        self.directory = directory or Whitelist.from_config(self.config)
        for path in (SPOOL, f"{SPOOL}/tmp"):
            self.files.make_directory(path)
        prepare(self.files, Whitelist.from_config(self.config).mailboxes(), MIDNIGHT, Events().log)
        self.budget = Budget()
        self.mailstore = Maildirs(
            self.files,
            run_in_thread,
            self.config.hostname,
            self.clock.seconds,
            budget=self.budget,
            spool=Mailbox(Address("spool", ""), SPOOL),
        )
        entropy = count()
        self.reception = Reception(
            self.directory,
            self.mailstore,
            self.config.hostname,
            self.clock.seconds,
            lambda: next(entropy),
            queue,
            **(reception or {}),
        )
        self.factory = SessionFactory(
            deliveries or self.reception,
            self.config.hostname,
            self.config.limits,
            self.clock,
            tls,
            budget=self.budget,
            reports=queue is not None,
            role_deliveries={LMTP.name: self.reception.for_lmtp()},
        )
        self.role = role or (SUBMISSION if users else MX)
        self.pauses: list[float] = []
        self.logins = StaticUsers(run_in_thread, self.clock.seconds, users) if users else None
        if self.logins is not None:
            self.factory.authentication = self._authentication(self.logins)

    def _authentication(self, users: Users) -> Authentication:
        def pause(seconds: float) -> Deferred[None]:
            self.pauses.append(seconds)
            return succeed(None)

        settings = AuthSettings(plaintext_loopback=Switch(True), failures=Count(3))
        return authentication(settings, SubmissionRealm(self.reception, users), users, self.clock.seconds, pause)

    def connect(self, peer: str = STRANGER) -> Connection:
        """A new session with a client at this address."""
        address = (IPv6Address if ":" in peer else IPv4Address)("TCP", peer, 40000)
        session = self.factory.listener(self.role).buildProtocol(address)
        assert isinstance(session, Session)
        transport = StringTransport(peerAddress=address)
        session.makeConnection(transport)
        return Connection(session, transport, self.clock)

    def stored(self, *mailbox: str) -> list[bytes]:
        """The messages in a mailbox, oldest first: C{stored("user1")}, C{stored("example.org", "ann")}."""
        new = "/".join((ROOT, *mailbox, "new"))
        return [self.files.content(f"{new}/{name}") for name in sorted(self.files.names(new))]

    @property
    def all_stored(self) -> int:
        """How many messages there are in all mailboxes."""
        boxes = (
            ("user1",),
            ("user2",),
            ("example.org", "ann"),
            ("example.org", "bob"),
            ("xn--bcher-kva.example", "jörg"),
        )
        return sum(len(self.stored(*box)) for box in boxes)


def transaction(
    *recipients: str, sender: str = "me@client.example", content: bytes = b"Subject: x\r\n\r\nhi\r\n"
) -> bytes:
    """A whole pipelined transaction. C{content} is sent as it is, and the end of data after it."""
    lines = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA"]
    return "".join(line + "\r\n" for line in lines).encode() + content + b".\r\n"


def codes(replies: bytes) -> list[str]:
    """The code and status of each reply, continuation lines left out: C{["250 2.1.0", "354"]}."""
    lines = [line for line in replies.decode().splitlines() if line[3:4] == " "]
    return [" ".join(line.split(" ")[: 1 if line.startswith(("354", "220")) else 2]) for line in lines]
