"""Every real client over every listener role: each takes our certificate for what it is, and no octet changes."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from tests.peers import clients
from tests.peers.clients import HOST, Client, Mail, NotSent, Security, Target
from tests.peers.mail import NASTY, as_sent, new, sender
from tests.peers.server import TWISTD, Server, free_port
from tests.peers.test_submission import mailagent
from tests.smtp.certificates import write_pair

CONFIGURATION = """
hostname = "mx.example"
whitelist = {{ hosts = ["hostmeister.de"], users = ["user1", "user2", "grüße"] }}
tls = {{ certificate = "{certificate}", key = "{key}" }}
directory = {{ users = "users" }}
"""
LOGIN = ("user1", "correct horse battery")
USER1 = "user1@hostmeister.de"
USER2 = "user2@hostmeister.de"
JUERGEN = "jürgen@hostmeister.de"
GRUESSE = "grüße@hostmeister.de"

ROLES = ["mx", "submission", "submissions"]


@attrs.frozen
class Way:
    """How one comes in at a listener, and what C{Received} says of it (RFC 3848)."""

    role: str
    security: Security
    login: tuple[str, str] | None
    protocol: bytes


WAYS = {
    "mx-in-the-clear": Way("mx", Security.NEVER, None, b"ESMTP"),
    "mx": Way("mx", Security.STARTTLS, None, b"ESMTPS"),
    "submission": Way("submission", Security.STARTTLS, LOGIN, b"ESMTPSA"),
    "submissions": Way("submissions", Security.IMPLICIT, LOGIN, b"ESMTPSA"),
}

CLIENTS = {
    "smtplib": pytest.param(clients.python_smtplib),
    "swaks": pytest.param(clients.swaks, marks=pytest.mark.requires("swaks")),
    "msmtp": pytest.param(clients.msmtp, marks=pytest.mark.requires("msmtp")),
    "curl": pytest.param(clients.curl, marks=pytest.mark.requires("curl")),
    "nodemailer": pytest.param(clients.nodemailer, marks=pytest.mark.requires("node")),
}

every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
over_every_role = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
over_tls = pytest.mark.parametrize("way", [WAYS[role] for role in ROLES], ids=ROLES)


@attrs.frozen
class Site:
    """One server with a listener in each role, at which user1 may log in.

    @ivar ports: of each role.
    @ivar other_ca: another's certificate for the same host.
    """

    server: Server
    ports: dict[str, int]
    ca: str
    other_ca: str

    def target(self, way: Way) -> Target:
        return Target(self.ports[way.role], way.security, self.ca, way.login)

    def await_end_of_sessions(self) -> str:
        """Return once all have ended. @return: how the last one did."""
        self.server.wait_for_output('"event": "disconnected"', len(self.server.events("connected")))
        reason: str = self.server.events("disconnected")[-1]["reason"]
        return reason

    def take(self, user: str) -> bytes:
        """The only message in a mailbox, which is empty afterwards."""
        mailbox = self.server.mailboxes / user
        messages = new(mailbox)
        for path in (mailbox / "new").iterdir():
            path.unlink()
        assert not list((mailbox / "tmp").iterdir())
        (message,) = messages
        return message


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    pair, other = write_pair(directory, HOST), write_pair(tmp_path_factory.mktemp("other"), HOST)
    text = CONFIGURATION.format(certificate=pair.certificate, key=pair.key)
    ports = {role: free_port() for role in ROLES}
    for role, port in ports.items():
        text += f'[[listen]]\nendpoint = "tcp:{port}:interface=127.0.0.1"\nrole = "{role}"\n'
    (directory / "mailagent.toml").write_text(text)
    name, password = LOGIN
    mailagent(directory, "user", "add", name, "--address", JUERGEN, password=f"{password}\n")
    server = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"], directory)
    try:
        server.wait_for_output('"event": "listening"', len(ports))
        yield Site(server, ports, pair.certificate, other.certificate)
        server.stop()
        assert password not in server.output
    finally:
        server.end()


@every_client
@over_every_role
def test_every_client_delivers_over_every_role(site: Site, client: Client, way: Way) -> None:
    client(site.target(way), Mail(USER1, USER2, NASTY))
    message = site.take("user2")
    assert sender(message) == USER1
    assert as_sent(message) == NASTY
    assert b" with " + way.protocol + b" id " in message


@pytest.mark.parametrize("client", [CLIENTS["curl"], CLIENTS["nodemailer"]])
def test_a_client_that_ends_its_tls_is_told_of_as_gone_in_good_order(site: Site, client: Client) -> None:
    """The others close the connection as soon as they have the answer to QUIT."""
    client(site.target(WAYS["mx"]), Mail(USER1, USER2, NASTY))
    site.take("user2")
    assert site.await_end_of_sessions() == "Connection was closed cleanly."


@every_client
@over_tls
def test_a_client_that_believes_another_certificate_sends_nothing(site: Site, client: Client, way: Way) -> None:
    """So the clients above do look at ours."""
    logins = len(site.server.events("login_succeeded"))
    with pytest.raises(NotSent, match=r"(?i)certificate"):
        client(attrs.evolve(site.target(way), ca=site.other_ca), Mail(USER1, USER2, NASTY))
    site.await_end_of_sessions()
    assert new(site.server.mailboxes / "user2") == []
    assert len(site.server.events("login_succeeded")) == logins


@pytest.mark.parametrize("client", [CLIENTS[name] for name in ("smtplib", "curl", "nodemailer")])
def test_clients_that_know_smtputf8_submit_beyond_ascii(site: Site, client: Client) -> None:
    content = NASTY.replace(b"From: Ann <ann@example.org>", f"From: Jürgen <{JUERGEN}>".encode())
    client(site.target(WAYS["submission"]), Mail(JUERGEN, GRUESSE, content))
    message = site.take("grüße")
    assert sender(message) == JUERGEN
    assert as_sent(message) == content
    assert b" with UTF8SMTPSA id " in message


def test_our_own_client_submits_beyond_ascii(site: Site) -> None:
    clients.mailclient(site.target(WAYS["submission"]), Mail(JUERGEN, GRUESSE, b"hi\n"))
    message = site.take("grüße")
    assert sender(message) == JUERGEN
    assert f"\nTo: {GRUESSE}\n".encode() in message
    assert as_sent(message).endswith(b"\n\nhi\n")
    assert b" with UTF8SMTPSA id " in message
