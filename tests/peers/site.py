"""One server with a listener in each role, at which user1 may log in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.peers.mail import new
from tests.peers.server import TWISTD, Server, free_port
from tests.peers.test_submission import mailagent
from tests.smtp.certificates import write_pair

_CONFIGURATION = """
hostname = "mx.example"
whitelist = {{ hosts = ["hostmeister.de"], users = ["user1", "user2", "grüße"] }}
tls = {{ certificate = "{certificate}", key = "{key}" }}
directory = {{ users = "users" }}
"""
_LISTEN = """
[[listen]]
endpoint = "tcp:{port}:interface=127.0.0.1"
role = "{role}"
"""
ROLES = ["mx", "submission", "submissions"]
#: Name and password.
LOGIN = ("user1", "correct horse battery")
USER1 = "user1@hostmeister.de"
USER2 = "user2@hostmeister.de"
GRUESSE = "grüße@hostmeister.de"
#: Another address that user1 owns.
JUERGEN = "jürgen@hostmeister.de"


@attrs.frozen
class Site:
    """What clients have to know of the server, and what a test wants to know.

    @ivar ports: of each role.
    @ivar ca: the file of its certificate, which is for C{localhost}.
    """

    server: Server
    ports: dict[str, int]
    ca: str

    def await_end_of_sessions(self) -> str:
        """Return once all have ended. @return: how the last one did."""
        self.server.wait_for_output('"event": "disconnected"', len(self.server.events("connected")))
        reason: str = self.server.events("disconnected")[-1]["reason"]
        return reason

    def achieved(self) -> tuple[int, int]:
        """How many logins have succeeded and how many messages have been stored so far."""
        return len(self.server.events("login_succeeded")), len(self.server.events("message_stored"))

    def take(self, user: str) -> bytes:
        """The only message in a mailbox, which is empty afterwards."""
        mailbox = self.server.mailboxes / user
        messages = new(mailbox)
        for path in (mailbox / "new").iterdir():
            path.unlink()
        assert not list((mailbox / "tmp").iterdir())
        (message,) = messages
        return message


@contextmanager
def started(directory: Path) -> Iterator[Site]:
    """A site in C{directory}. It must end well, and nobody's password be in its log."""
    pair = write_pair(directory, "localhost")
    ports = {role: free_port() for role in ROLES}
    text = _CONFIGURATION.format(certificate=pair.certificate, key=pair.key)
    text += "".join(_LISTEN.format(port=port, role=role) for role, port in ports.items())
    (directory / "mailagent.toml").write_text(text)
    name, password = LOGIN
    mailagent(directory, "user", "add", name, "--address", JUERGEN, password=f"{password}\n")
    server = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"], directory)
    try:
        server.wait_for_output('"event": "listening"', len(ports))
        yield Site(server, ports, pair.certificate)
        server.stop()
        assert password not in server.output
    finally:
        server.end()
