"""Mail of ours that Dovecot keeps in place of our Maildirs, handed over by LMTP on a local socket and over TCP."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests import programs
from tests.peers.mail import NASTY, as_received, new
from tests.peers.sending import FAILED, Sending, sending
from tests.peers.server import DEADLINE, Server, await_listener, free_port
from tests.peers.test_readers import UNPRIVILEGED, Owner
from tests.peers.test_relays import numbered

OVER_TCP, OVER_SOCKET, MAILDIR = "tcp.example", "socket.example", "maildir.example"
_DOVECOT = """
base_dir = {home}/run
state_dir = {home}/run
log_path = /dev/stderr
protocols = lmtp
ssl = no
mail_location = maildir:{home}/kept/%n
first_valid_uid = {uid}
auth_username_format = %Ln
passdb {{
  driver = passwd-file
  args = {home}/users
}}
userdb {{
  driver = passwd-file
  args = {home}/users
  default_fields = uid={uid} gid={gid} home={home}/kept/%n
}}
service lmtp {{
  unix_listener {home}/lmtp.sock {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""
#: What Dovecot puts ahead of a message.
_TRACE = re.compile(rb"Return-Path: <(?P<sender>[^\n]*)>\nDelivered-To: [^\n]+\nReceived: [^\n]+\n(?:[ \t][^\n]+\n)*")


@attrs.frozen
class Site:
    """Our server, and what Dovecot has of its mail."""

    sending: Sending
    kept: Path

    def arrived(self, user: str) -> list[bytes]:
        """A user's messages as they were handed over."""
        found = []
        for message in new(self.kept / user):
            trace = _TRACE.match(message)
            assert trace, message[:500]
            found.append(message[trace.end() :])
        return found


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    """Dovecot knows user1 and user3 only."""
    owner, port = Owner.choose(), free_port()
    (home / "users").write_text("user1:{PLAIN}x::::::\nuser3:{PLAIN}x::::::\n")
    (home / "kept").mkdir()
    (home / "kept").chmod(0o777)
    template = _DOVECOT if owner.user == "nobody" else _DOVECOT + UNPRIVILEGED
    (home / "dovecot.conf").write_text(template.format(home=home, port=port, **attrs.asdict(owner)))
    dovecot = Server([programs.path("dovecot"), "-F", "-c", str(home / "dovecot.conf")], home)
    try:
        await_listener("127.0.0.1", port, lambda: dovecot.lives)
        routes = (
            f'[routes."{OVER_TCP}"]\nto = "lmtp:127.0.0.1:{port}"\n'
            f'[routes."{OVER_SOCKET}"]\nto = "lmtp:unix:{home}/lmtp.sock"\n'
        )
        with sending(home, 25, {}, hosts=[OVER_TCP, OVER_SOCKET, MAILDIR], relay=routes) as running:
            yield Site(running, home / "kept")
    finally:
        dovecot.signal(signal.SIGTERM)
        dovecot.wait()


@pytest.mark.requires("dovecot", "/usr/lib/dovecot/lmtp")
@pytest.mark.parametrize("count", [10, pytest.param(500, marks=pytest.mark.torture)])
def test_dovecot_keeps_our_users_mail(site: Site, count: int) -> None:
    sent = {domain: [numbered(number) for number in range(count)] for domain in (OVER_TCP, OVER_SOCKET)}
    for domain, messages in sent.items():
        for message in messages:
            site.sending.submit(message, f"User1+tag@{domain}", sender="ann@elsewhere.example")
    site.sending.await_delivery(2 * count, 8 * DEADLINE)
    arrived = site.arrived("user1")
    for domain, messages in sent.items():
        delivered = f"Delivered-To: user1@{domain}\n".encode()
        found = [message.removeprefix(delivered) for message in arrived if message.startswith(delivered)]
        assert Counter(map(as_received, found)) == Counter(messages)
    assert len(arrived) == 2 * count
    assert site.sending.mailbox("user1") == []  # that of another host


@pytest.mark.requires("dovecot", "/usr/lib/dovecot/lmtp")
def test_each_recipient_has_an_answer_and_a_stranger_hears_of_none(site: Site) -> None:
    recipients = [f"user1@{OVER_SOCKET}", f"user2@{OVER_SOCKET}", f"user1@{MAILDIR}"]
    site.sending.submit(NASTY, *recipients, sender="ann@elsewhere.example")
    # user2's failure is told to the host's postmaster: user2, whose own failure is the postmaster's at our own name
    site.sending.server.wait_for_output('"event": "recipient_failed"')
    site.sending.server.wait_for_output('"event": "recipient_delivered"')
    assert len(site.arrived("user1")) == 1
    assert len(site.sending.mailbox("user1")) == 1
    failed = site.sending.ends()[f"user2@{OVER_SOCKET}"][0]
    assert failed["event"] == FAILED
    assert failed["reply"].startswith("550 5.1.1 ")
    assert "elsewhere.example" not in site.sending.ends()
    assert not any("elsewhere" in event["recipient"] for event in site.sending.server.events("report_queued"))
