"""A server that sends into L{tests.peers.world}, those who hand it mail, and what is then to be compared.

Every message has its number. A recipient's address tells it, C{m17@good.test}, so that log, queue, reports and the
world's servers can be asked about each message without knowing the server's id of it.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import os
import re
import smtplib
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import attrs

from tests.peers.mail import new
from tests.peers.server import DEADLINE, ROOT, TWISTD, Server, environment, free_port

HOST = "here.test"
ANN, BOB = f"ann@{HOST}", f"bob@{HOST}"
_CONFIGURATION = """
hostname = "mx.here.test"
workers = {workers}
whitelist = {{ hosts = ["here.test"], users = ["ann", "bob"], postmaster = "bob" }}
relay = {{ networks = ["127.0.0.0/8"], resolver = "127.0.0.1:{resolver}", port = {port}, connect_time = "5 s" }}
limits = {{ sessions_per_network = 1000, stop_time = "{stop_time}" }}
[queue]
url = "{url}"
retry_first = "{retry_first}"
retry_most = "2 s"
give_up = "{give_up}"
[[listen]]
endpoint = "tcp:{own_port}:interface=127.0.0.1"
"""
_MAILAGENT = "from mailagent.cli.main import main; main()"
_SETTLED = re.compile(r'"event": "recipient_(delivered|failed|expired)"')
#: What sets a server's clock.
_CLOCK = ROOT / "tests" / "peers" / "clock"
#: Seconds for whatever takes long with many messages.
LONG = 240.0


class World:
    """The process of L{tests.peers.world}."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.peers.world"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self.resolver, self.port = int(ports["resolver"]), int(ports["port"])
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def wait_for(self, copies: int) -> None:
        """Return when its servers have taken so many copies."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._lines) >= copies, LONG)

    def end(self) -> None:
        """End it; L{taken} is complete then."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)

    def kill(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()

    def taken(self) -> list[dict[str, Any]]:
        """The copies that its servers have taken so far."""
        return [json.loads(line) for line in tuple(self._lines)]


@attrs.define
class Site:
    """A directory with a configuration, whose server is started again and again on the same port.

    @ivar servers: those started so far; the last one may run.
    @ivar program: what is run as C{twistd}.
    """

    directory: Path
    world: World
    port: int = attrs.field(factory=free_port)
    servers: list[Server] = attrs.field(factory=list)
    program: tuple[str, ...] = (str(TWISTD),)

    def configure(
        self,
        give_up: str = "5 d",
        stop_time: str = "10 s",
        retry_first: str = "1 s",
        workers: int = 1,
        url: str = "sqlite:///queue.db",
    ) -> None:
        text = _CONFIGURATION.format(
            workers=workers,
            resolver=self.world.resolver,
            port=self.world.port,
            own_port=self.port,
            give_up=give_up,
            stop_time=stop_time,
            retry_first=retry_first,
            url=url,
        )
        (self.directory / "mailagent.toml").write_text(text)

    def set_clock(self, ahead: float) -> None:
        """Set the clock of all that has been started since this was first called, and will be; in seconds."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(ahead))
        new.rename(self._clock)

    @property
    def _clock(self) -> Path:
        return self.directory / "clock"

    def _environment(self) -> dict[str, str]:
        if not self._clock.exists():
            return environment()
        return environment(PYTHONPATH=f"{_CLOCK}{os.pathsep}{ROOT}", CLOCK=str(self._clock))

    def start(self, level: str = "info", listens: bool = True) -> Server:
        """A new server, which listens; or is about to, or will not."""
        command = [*self.program, "-n", "--pidfile=", "mailagent", "--log-format", "json", "--log-level", level]
        server = Server(command, self.directory, self._environment())
        self.servers.append(server)
        if listens:
            server.wait_for("listening")
        return server

    @property
    def database(self) -> Path:
        return self.directory / "state" / "queue.db"

    def mailbox(self, user: str) -> list[bytes]:
        """What a user has got."""
        return new(self.directory / "mailboxes" / user)

    def reports(self) -> list[Report]:
        """Those to Ann, who gets nothing else."""
        return [read_report(message) for message in self.mailbox("ann")]

    def queue(self, *words: str) -> list[dict[str, Any]]:
        """What C{mailagent queue} says in JSON."""
        command = [sys.executable, "-c", _MAILAGENT, "queue", *words, "--json"]
        env = self._environment()
        done = subprocess.run(
            command, cwd=self.directory, env=env, capture_output=True, timeout=LONG, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def unfinished(self) -> set[tuple[str, str]]:
        """Id and recipient of all that waits, or is being delivered: reports, too."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return set(connection.execute("SELECT message_id, address FROM recipients WHERE state = 'queued'"))

    def wait_until_reported(self) -> None:
        """Return when what waits for a mailbox here is there: the reports."""
        here = {(id_, recipient) for id_, recipient in self.unfinished() if recipient == ANN}
        _wait_until_logged(self.servers[-1], here, lambda event: (event["id"], event["recipient"]))

    def wait_until_empty(self) -> None:
        """Return when the queue of the server that runs is empty. (What a killed one has written down need not be in
        its log.)"""
        while left := self.unfinished():
            _wait_until_logged(self.servers[-1], left, lambda event: (event["id"], event["recipient"]))

    def states(self) -> dict[str, str]:
        """Each numbered recipient's state."""
        asked = ("queued", "active", "held", "quarantined", "delivered", "failed", "expired", "dropped")
        found = self.queue("list", *(word for state in asked for word in ("--state", state)))
        numbered = [each for each in found if each["recipient"].startswith("m")]
        assert len({each["recipient"] for each in numbered}) == len(numbered)
        return {each["recipient"]: each["state"] for each in numbered}


@contextmanager
def at_work(directory: Path) -> Iterator[Site]:
    """A world, and a site in it; nothing is left running."""
    world = World()
    site = Site(directory, world)
    try:
        yield site
    finally:
        for server in site.servers:
            server.end()
        world.kill()


@attrs.frozen
class Message:
    """One message to be handed in.

    @ivar recipients: the numbered ones, of other hosts.
    @ivar with_bob: it goes to a mailbox here as well.
    """

    number: int
    recipients: tuple[str, ...]
    with_bob: bool = False

    @classmethod
    def to(cls, number: int, *domains: str, with_bob: bool = False) -> Message:
        return cls(number, tuple(f"m{number}@{domain}.test" for domain in domains), with_bob)

    @property
    def body(self) -> bytes:
        """From 30 octets to beyond 256 KiB, which the queue keeps in pieces."""
        lines = 9000 if self.number % 100 == 50 else (1, 1, 10, 100)[self.number % 4]
        return b"%s.dot %d\r\n" % (b"Nothing may be lost, nothing torn.\r\n" * lines, self.number)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def octets(self) -> bytes:
        return b"From: <%s>\r\nX-Number: %d\r\n\r\n%s" % (ANN.encode(), self.number, self.body)


class Load:
    """Some sessions that hand in messages, and remember which were acknowledged.

    A message is handed in once: who was not answered does not try again.

    @param hasty: so many of the sessions are for one message each: who was answered connects anew.
    """

    def __init__(self, site: Site, messages: Iterable[Message], sessions: int = 8, hasty: int = 0) -> None:
        self.acknowledged: list[Message] = []
        self.refused: list[tuple[Message, int]] = []
        self.unanswered: list[Message] = []
        self._site = site
        self._messages = iter(messages)
        self._changed = threading.Condition()
        self._up = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(number < hasty,), daemon=True) for number in range(sessions)
        ]
        self._up.set()
        for thread in self._threads:
            thread.start()

    def down(self) -> None:
        """The server is about to go: nobody connects until L{up}."""
        self._up.clear()

    def up(self) -> None:
        self._up.set()

    def _next(self) -> Message | None:
        with self._changed:
            return next(self._messages, None)

    def _work(self, hasty: bool) -> None:
        message = self._next()
        while message is not None:
            assert self._up.wait(LONG)
            try:
                with smtplib.SMTP("127.0.0.1", self._site.port, timeout=DEADLINE) as client:
                    client.ehlo("client.test")
                    while message is not None and self._up.is_set():
                        current, message = message, None
                        self._hand_in(client, current)
                        message = self._next()
                        if hasty:
                            break
            except (OSError, smtplib.SMTPServerDisconnected):
                message = message or self._next()

    def _hand_in(self, client: smtplib.SMTP, message: Message) -> None:
        recipients = [*message.recipients, *([BOB] if message.with_bob else [])]
        try:
            client.sendmail(ANN, recipients, message.octets)
        except smtplib.SMTPResponseException as error:
            self._note(self.refused, (message, error.smtp_code))
        except (OSError, smtplib.SMTPException):
            self._note(self.unanswered, message)
            raise
        else:
            self._note(self.acknowledged, message)

    def _note(self, among: list[Any], what: object) -> None:
        with self._changed:
            among.append(what)
            self._changed.notify_all()

    @property
    def ended(self) -> int:
        """How many have been answered, or will never be."""
        return len(self.acknowledged) + len(self.refused) + len(self.unanswered)

    def wait_for(self, count: int) -> None:
        """Return when so many have been answered, or will never be."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.ended >= count, LONG), self.ended

    def join(self) -> None:
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()


def settled(server: Server) -> dict[str, str]:
    """What a server's log says of each numbered recipient that has come to its end."""
    # Where it was killed, the last line need not be whole.
    events = [json.loads(line) for line in server.lines if line.endswith("\n") and _SETTLED.search(line)]
    return {
        each["recipient"]: each["event"].removeprefix("recipient_")
        for each in events
        if each["recipient"].startswith("m")
    }


def wait_until_settled(server: Server, recipients: Iterable[str]) -> None:
    """Return when the log says of each that it has come to its end."""
    _wait_until_logged(server, set(recipients), lambda event: event["recipient"])


def _wait_until_logged(server: Server, left: set[Any], key: Callable[[dict[str, Any]], object]) -> None:
    read = 0

    def happened() -> bool:
        nonlocal read
        lines = server.lines[read:]
        read += len(lines)
        left.difference_update(key(json.loads(line)) for line in lines if _SETTLED.search(line))
        return not left

    server.wait_until(happened, "end of all recipients", LONG)


@attrs.frozen
class Report:
    """A bounce.

    @ivar id: its own.
    @ivar failed: the recipients it tells of.
    @ivar number: of the message that came back.
    """

    id: str
    failed: frozenset[str]
    number: int


def read_report(message: bytes) -> Report:
    """A bounce as it lies in a mailbox, if it is a correct one (RFC 3464, RFC 6522)."""
    assert message.startswith(b"Return-Path: <>\n")
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["To"] == ANN
    text, status, returned = parsed.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    about, *blocks = cast(list[EmailMessage], status.get_payload())
    assert about["Reporting-MTA"] == "dns; mx.here.test"
    failed = set()
    for block in blocks:
        assert block["Action"] == "failed"
        kind, _, recipient = block["Final-Recipient"].partition("; ")
        assert kind == "rfc822"
        assert recipient in text.get_content()
        assert re.fullmatch(r"[45]\.\d+\.\d+", block["Status"])
        failed.add(recipient)
    number = re.search(rb"^X-Number: (\d+)", returned.as_bytes(), re.MULTILINE)
    assert number
    return Report(parsed["Message-ID"], frozenset(failed), int(number[1]))


def bounced(reports: Iterable[Report]) -> Counter[str]:
    """How many reports name each recipient; each report is of one message only."""
    found: Counter[str] = Counter()
    for report in reports:
        assert {recipient.partition("@")[0] for recipient in report.failed} == {f"m{report.number}"}
        found.update(report.failed)
    return found


def copies(taken: Sequence[dict[str, Any]], messages: Iterable[Message]) -> Counter[str]:
    """How many copies of each recipient's message the world has taken; each is whole."""
    digests = {recipient: message.digest for message in messages for recipient in message.recipients}
    for copy in taken:
        assert copy["digest"] == digests[copy["recipient"]], f"{copy['recipient']}: torn"
    return Counter(copy["recipient"] for copy in taken)
