"""A server whose mail for elsewhere goes to other programs on this machine, found by MX in the tests' own DNS."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests import dns_server
from tests.peers.mail import lines_crlf, new
from tests.peers.server import DEADLINE, LOOPBACK, TWISTD, LogEvent, Server, environment

SENDER = "user1@sender.example"
#: What the log calls the ends of an attempt.
DELIVERED, DEFERRED, FAILED = "recipient_delivered", "recipient_deferred", "recipient_failed"
_ENDS = (DELIVERED, DEFERRED, FAILED)

_CONFIGURATION = """
hostname = "mx.example"
{settings}
[whitelist]
hosts = {hosts}
users = ["user1", "user2"]
postmaster = "user2"

[[listen]]
endpoint = "{endpoint}"
role = "{role}"

[relay]
networks = ["127.0.0.0/8"]
resolver = "127.0.0.1:{resolver}"
port = {port}
{relay}
"""


@attrs.frozen
class Sending:
    """The server, and what a test does with it.

    @ivar home: where it runs.
    """

    server: Server
    home: Path

    def submit(
        self,
        message: bytes,
        *recipients: str,
        sender: str = SENDER,
        mail: Sequence[str] = (),
        rcpt: Sequence[str] = (),
    ) -> None:
        """Hand a message over, for recipients that must all be accepted."""
        body = [] if message.isascii() else ["BODY=8BITMIME"]
        with smtplib.SMTP("127.0.0.1", self.server.port, timeout=DEADLINE) as client:
            assert client.sendmail(sender, recipients, lines_crlf(message), [*body, *mail], rcpt) == {}

    def ends(self) -> dict[str, list[LogEvent]]:
        """What has come of each recipient so far, attempt by attempt."""
        found: dict[str, list[LogEvent]] = {}
        for event in self.server.events():
            if event["event"] in _ENDS:
                found.setdefault(event["recipient"], []).append(event)
        return found

    def await_ends(self, count: int, deadline: float = DEADLINE) -> dict[str, list[LogEvent]]:
        """Return once so many attempts have ended."""
        read = seen = 0

        def happened() -> bool:
            nonlocal read, seen
            lines = self.server.lines[read:]
            read += len(lines)
            seen += sum(f'"event": "{end}"' in line for line in lines for end in _ENDS)
            return seen >= count

        self.server.wait_until(happened, f"{count} attempts", deadline)
        return self.ends()

    def await_delivery(self, count: int = 1, deadline: float = DEADLINE) -> None:
        """Return once so many recipients have their mail. Nothing else may have come of any."""
        found = self.await_ends(count, deadline)
        assert Counter(event["event"] for ends in found.values() for event in ends) == {DELIVERED: count}, found

    def mailbox(self, user: str) -> list[bytes]:
        """What lies in a mailbox."""
        return new(self.server.mailboxes / user)

    def command(self, *words: str, status: int = 0) -> str:
        """What C{mailagent} prints."""
        run = [sys.executable, "-c", "from mailagent.cli.main import main; main()", *words]
        done = subprocess.run(
            run, cwd=self.home, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert done.returncode == status, done
        return done.stdout


@contextmanager
def sending(
    home: Path,
    port: int,
    records: dns_server.Records,
    *,
    hosts: Sequence[str] = ("sender.example",),
    endpoint: str = LOOPBACK,
    role: str = "mx",
    settings: str = "",
    relay: str = "",
) -> Iterator[Sending]:
    """Such a server, in C{home}, that goes by these C{records} to mail servers at C{port}. It must end well.

    @param settings: ahead of all tables; C{relay}: at the end, which is the table of that name.
    """
    with dns_server.serving(records) as zones:
        text = _CONFIGURATION.format(
            hosts=list(hosts),
            endpoint=endpoint,
            role=role,
            resolver=zones.port,
            port=port,
            settings=settings,
            relay=relay,
        )
        (home / "mailagent.toml").write_text(text)
        server = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"], home)
        try:
            server.wait_for("listening")
            yield Sending(server, home)
            server.stop()
            assert server.events("error") == []
        finally:
            server.end()


def mail_exchange(hosts: Mapping[str, str]) -> dns_server.Records:
    """Records for domains whose mail server, C{mx.} the domain, is at an address."""
    return {domain: {"MX": [f"10 mx.{domain}."]} for domain in hosts} | {
        f"mx.{domain}": {"A": [address]} for domain, address in hosts.items()
    }
