"""Two servers of ours send to each other: what a sender asks for holds all the way, and notices find back."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.mail import NASTY, as_received, as_sent, lines_crlf, reported
from tests.peers.sending import DEFERRED, DELIVERED, FAILED, SENDER, Sending, mail_exchange, sending
from tests.peers.server import DEADLINE, free_port
from tests.peers.site import LOGIN, USER1, USER2, Site, started
from tests.smtp.certificates import write_pair

RECEIVER = "receiver.example"
WISHES = ["NOTIFY=SUCCESS,FAILURE"]


@pytest.fixture
def both(home: Path) -> Iterator[tuple[Sending, Sending]]:
    """One whose users are at sender.example, and one at receiver.example, whose TLS can be verified."""
    ports = free_port(), free_port()
    pair = write_pair(home, f"mx.{RECEIVER}")
    for name in ("sender", "receiver"):
        (home / name).mkdir()
    with (
        sending(
            home / "sender",
            ports[1],
            mail_exchange({RECEIVER: "127.0.0.1"}),
            endpoint=f"tcp:{ports[0]}:interface=127.0.0.1",
            relay=f'authorities = "{pair.certificate}"',
        ) as sender,
        sending(
            home / "receiver",
            ports[0],
            mail_exchange({"sender.example": "127.0.0.1"}),
            hosts=[RECEIVER],
            endpoint=f"tcp:{ports[1]}:interface=127.0.0.1",
            settings=f'tls = {{ certificate = "{pair.certificate}", key = "{pair.key}" }}',
        ) as receiver,
    ):
        yield sender, receiver


def test_what_is_asked_for_is_passed_on_and_the_notice_comes_back(both: tuple[Sending, Sending]) -> None:
    sender, receiver = both
    original = f"rfc822;user1@{RECEIVER}"
    with smtplib.SMTP("127.0.0.1", sender.server.port, timeout=DEADLINE) as client:
        client.starttls()
        wishes = [*WISHES, f"ORCPT={original}"]
        options = ["BODY=8BITMIME", "REQUIRETLS", "RET=HDRS", "ENVID=QQ314159"]
        assert client.sendmail(SENDER, [f"User1@{RECEIVER}"], lines_crlf(NASTY), options, wishes) == {}
    receiver.await_ends(1)  # the notice
    assert sender.ends()[f"User1@{RECEIVER}"][0]["tls"]
    (message,) = receiver.mailbox("user1")
    assert as_received(as_sent(message)) == NASTY
    (notice,) = sender.mailbox("user1")
    assert b"\nOriginal-Envelope-Id: QQ314159\n" in notice
    recipient = reported(as_sent_by_another(notice))
    assert (recipient["Action"], recipient["Original-Recipient"]) == ("delivered", original.replace(";", "; "))


def as_sent_by_another(notice: bytes) -> bytes:
    """A report that came from another server, as one of our own would lie there."""
    return b"Return-Path: <>\n" + as_sent(notice)


def test_a_bounce_reaches_its_user_and_what_bounces_from_nobody_the_postmaster_once(
    both: tuple[Sending, Sending],
) -> None:
    sender, receiver = both
    sender.submit(NASTY, f"nobody@{RECEIVER}")
    sender.submit(NASTY, f"nobody@{RECEIVER}", sender=f"ghost@{RECEIVER}")  # whose own bounce will fail
    sender.await_ends(5)  # two messages, the bounces of both, and one of the second's
    sender.server.wait_for_output('"event": "recipient_delivered"', 2)
    (bounce,) = sender.mailbox("user1")
    assert (reported(bounce)["Action"], reported(bounce)["Status"]) == ("failed", "5.1.1")
    (postmasters,) = sender.mailbox("user2")
    assert reported(postmasters)["Final-Recipient"] == f"rfc822; ghost@{RECEIVER}"
    ends = sender.ends()
    assert [event["event"] for event in ends[f"ghost@{RECEIVER}"]] == [FAILED]
    assert receiver.mailbox("user1") == receiver.mailbox("user2") == []


@pytest.fixture
def smarthost(home: Path) -> Iterator[tuple[Sending, Site]]:
    """A server that sends all it has through another's submission listener, with the wrong password."""
    for name in ("smarthost", "sender"):
        (home / name).mkdir()
    password = home / "sender" / "password"
    password.write_text("wrong\n")
    password.chmod(0o600)
    with started(home / "smarthost") as site:
        relay = (
            f'authorities = "{site.ca}"\n[routes."*"]\nto = "smtp:localhost:{site.ports["submission"]}"\n'
            f'tls = "verify"\nuser = "{LOGIN[0]}"\npassword_file = "password"\n'
        )
        with sending(home / "sender", 25, {}, relay=relay) as running:
            yield running, site


def test_a_changed_password_of_a_smarthost_bounces_nothing(smarthost: tuple[Sending, Site]) -> None:
    sender, site = smarthost
    sender.submit(NASTY, USER2, sender=USER1)
    sender.await_ends(1)
    (sender.home / "password").write_text(f"{LOGIN[1]}\n")
    sender.command("queue", "retry", "--all")
    first, second = sender.await_ends(2)[USER2]
    assert (first["event"], second["event"]) == (DEFERRED, DELIVERED)
    assert first["reply"].startswith("4")
    message = site.take("user2")
    assert b" with ESMTPSA id " in message
    assert as_received(as_sent(message)) == NASTY
    assert sender.mailbox("user1") == sender.mailbox("user2") == []
