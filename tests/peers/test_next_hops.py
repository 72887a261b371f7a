"""Mail goes out through real Postfix and Exim, found by MX, in the clear and under every kind of TLS.

Nothing is lost, nothing comes twice, no octet changes. Behind them is another server of ours, in whose mailbox that is
seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from tests.peers.mail import NASTY, as_received, as_sent
from tests.peers.relays import Exim, Postfix
from tests.peers.sending import DEFERRED, DELIVERED, Sending, mail_exchange, sending
from tests.peers.test_relays import LONG, numbered, numbers
from tests.smtp.certificates import write_pair

TRUSTED, WRONG, CARELESS, BROKEN, PLAIN, INSECURE = (
    f"{name}.example" for name in ("trusted", "wrong", "careless", "broken", "plain", "insecure")
)
#: Where each domain's mail server is.
HOSTS = {
    TRUSTED: "127.0.0.1",
    WRONG: "127.0.0.1",
    CARELESS: "127.0.0.1",
    BROKEN: "127.0.0.2",
    PLAIN: "127.0.0.3",
    INSECURE: "127.0.0.3",
}
ROUTES = f"""
[routes."{TRUSTED}"]
tls = "verify"
[routes."{WRONG}"]
tls = "verify"
[routes."{INSECURE}"]
tls = "require"
"""
POSTFIX_TLS = """
smtpd_tls_security_level = may
smtpd_tls_cert_file = {pair.certificate}
smtpd_tls_key_file = {pair.key}
"""
#: One that offers STARTTLS, and whose handshake then fails; one without.
POSTFIX_OTHERS = """
127.0.0.2:{own_port} inet n - n - - smtpd -o smtpd_tls_protocols=TLSv1
127.0.0.3:{own_port} inet n - n - - smtpd -o smtpd_tls_security_level=none
"""
EXIM_SERVER = """
acl_smtp_rcpt = accept
acl_smtp_data = accept
tls_advertise_hosts = *
tls_certificate = {pair.certificate}
tls_privatekey = {pair.key}
smtp_accept_max = 50
smtp_accept_queue_per_connection = 0
"""
SHORT_AND_LONG = pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.torture)])


@pytest.fixture
def receiver(home: Path) -> Iterator[Sending]:
    """The server at the end of the way."""
    directory = home / "receiver"
    directory.mkdir()
    with sending(directory, 25, {}, hosts=list(HOSTS)) as running:
        yield running


@contextmanager
def sender(home: Path, port: int, certificate: str) -> Iterator[Sending]:
    """The server at its beginning."""
    directory = home / "sender"
    directory.mkdir()
    trust = f'authorities = "{certificate}"\n{ROUTES}'
    with sending(directory, port, mail_exchange(HOSTS), relay=trust) as running:
        yield running


@pytest.fixture
def postfix(home: Path, receiver: Sending) -> Iterator[tuple[Postfix, Sending]]:
    """Postfix, and who sends to it."""
    pair = write_pair(home, f"mx.{TRUSTED}")
    directory = home / "postfix"
    directory.mkdir()
    running = Postfix.start(directory, receiver.server.port, main=POSTFIX_TLS.format(pair=pair), master=POSTFIX_OTHERS)
    try:
        with sender(home, running.port, pair.certificate) as site:
            yield running, site
    finally:
        running.stop()


def arrived(receiver: Sending) -> list[bytes]:
    """What the receiver has, without anybody's trace fields: its own, those of who was between, and the sender's."""
    return [as_received(as_received(as_sent(message))) for message in receiver.mailbox("user1")]


def assert_arrived_once(receiver: Sending, sent: list[bytes]) -> None:
    found = arrived(receiver)
    assert numbers(found) == numbers(sent)
    assert Counter(found) == Counter(sent)


@pytest.mark.requires("postfix")
@SHORT_AND_LONG
def test_postfix_takes_what_we_send(postfix: tuple[Postfix, Sending], receiver: Sending, count: int) -> None:
    relay, site = postfix
    sent = [numbered(number) for number in range(count)]
    for message, domain in zip(sent, cycle([TRUSTED, PLAIN])):  # one has no end
        site.submit(message, f"user1@{domain}")
    site.await_delivery(count, LONG)
    relay.process.wait_for_output(": removed", count, LONG)
    assert_arrived_once(receiver, sent)
    protected = {recipient: {bool(end["tls"]) for end in ends} for recipient, ends in site.ends().items()}
    assert protected == {f"user1@{TRUSTED}": {True}, f"user1@{PLAIN}": {False}}


@pytest.mark.requires("postfix")
def test_the_demand_on_tls_is_kept(postfix: tuple[Postfix, Sending], receiver: Sending) -> None:
    relay, site = postfix
    site.submit(NASTY, *(f"user1@{domain}" for domain in HOSTS))
    ends = {recipient.partition("@")[2]: end for recipient, (end,) in site.await_ends(len(HOSTS)).items()}
    assert {domain: end["event"] for domain, end in ends.items()} == {
        TRUSTED: DELIVERED,
        WRONG: DEFERRED,
        CARELESS: DELIVERED,
        BROKEN: DELIVERED,
        PLAIN: DELIVERED,
        INSECURE: DEFERRED,
    }
    assert {domain for domain, end in ends.items() if end["tls"]} == {TRUSTED, CARELESS}
    assert "certificate is not for the name" in ends[WRONG]["reply"]
    assert [event["host"] for event in site.server.events("tls_given_up")] == [f"mx.{BROKEN}"]
    relay.process.wait_for_output(": removed", 4)
    assert arrived(receiver) == [NASTY] * 4
    assert site.mailbox("user1") == []


@pytest.mark.requires("exim4")
@SHORT_AND_LONG
def test_exim_takes_what_we_send(home: Path, receiver: Sending, count: int) -> None:
    pair = write_pair(home, f"mx.{TRUSTED}")
    for path in (pair.certificate, pair.key):
        Path(path).chmod(0o644)  # Exim reads them as another user
    directory = home / "exim"
    directory.mkdir()
    exim = Exim.configure(directory, receiver.server.port, True, more=EXIM_SERVER.format(pair=pair))
    process, port = exim.listen(directory)
    sent = [numbered(number) for number in range(count)]
    try:
        with sender(home, port, pair.certificate) as site:
            for message in sent:
                site.submit(message, f"user1@{TRUSTED}")
            site.await_delivery(count, LONG)
            assert all(end["tls"] for ends in site.ends().values() for end in ends)
            receiver.server.wait_for_output('"event": "message_stored"', count, LONG)
    finally:
        process.end()
    assert_arrived_once(receiver, sent)
