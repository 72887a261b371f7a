"""Every real client over every listener role: each takes our certificate for what it is, and no octet changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.peers import clients
from tests.peers.clients import HOST, Client, Mail, NotSent, Security, Target
from tests.peers.mail import NASTY, as_sent, sender
from tests.peers.site import GRUESSE, JUERGEN, LOGIN, ROLES, USER1, USER2, Site, started
from tests.smtp.certificates import write_pair


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with started(tmp_path_factory.mktemp("site")) as running:
        yield running


def target(site: Site, way: Way) -> Target:
    return Target(site.ports[way.role], way.security, site.ca, way.login)


@every_client
@over_every_role
def test_every_client_delivers_over_every_role(site: Site, client: Client, way: Way) -> None:
    client(target(site, way), Mail(USER1, USER2, NASTY))
    message = site.take("user2")
    assert sender(message) == USER1
    assert as_sent(message) == NASTY
    assert b" with " + way.protocol + b" id " in message


@pytest.mark.parametrize("client", [CLIENTS["curl"], CLIENTS["nodemailer"]])
def test_a_client_that_ends_its_tls_is_told_of_as_gone_in_good_order(site: Site, client: Client) -> None:
    """The others close the connection as soon as they have the answer to QUIT."""
    client(target(site, WAYS["mx"]), Mail(USER1, USER2, NASTY))
    site.take("user2")
    assert site.await_end_of_sessions() == "Connection was closed cleanly."


@every_client
@over_tls
def test_a_client_that_believes_another_certificate_sends_nothing(
    site: Site, client: Client, way: Way, tmp_path: Path
) -> None:
    """So the clients above do look at ours."""
    before = site.achieved()
    with pytest.raises(NotSent, match=r"(?i)certificate"):
        client(attrs.evolve(target(site, way), ca=write_pair(tmp_path, HOST).certificate), Mail(USER1, USER2, NASTY))
    site.await_end_of_sessions()
    assert site.achieved() == before


@pytest.mark.parametrize("client", [CLIENTS[name] for name in ("smtplib", "curl", "nodemailer")])
def test_clients_that_know_smtputf8_submit_beyond_ascii(site: Site, client: Client) -> None:
    content = NASTY.replace(b"From: Ann <ann@example.org>", f"From: Jürgen <{JUERGEN}>".encode())
    client(target(site, WAYS["submission"]), Mail(JUERGEN, GRUESSE, content))
    message = site.take("grüße")
    assert sender(message) == JUERGEN
    assert as_sent(message) == content
    assert b" with UTF8SMTPSA id " in message


def test_our_own_client_submits_beyond_ascii(site: Site) -> None:
    clients.mailclient(target(site, WAYS["submission"]), Mail(JUERGEN, GRUESSE, b"hi\n"))
    message = site.take("grüße")
    assert sender(message) == JUERGEN
    assert f"\nTo: {GRUESSE}\n".encode() in message
    assert as_sent(message).endswith(b"\n\nhi\n")
    assert b" with UTF8SMTPSA id " in message
