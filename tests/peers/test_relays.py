"""Postfix and Exim relay to us over STARTTLS, as servers and as users.

Nothing is lost, nothing comes twice, no octet changes.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.mail import NASTY, as_sent, new, sender
from tests.peers.relays import RECIPIENT, Account, Exim, Postfix, submit
from tests.peers.server import DEADLINE, Server
from tests.peers.site import LOGIN, Site, started

#: Seconds that a thousand messages may take.
LONG = 250.0
SHORT_AND_LONG = pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.torture)])

_RELAY_TRACE = re.compile(rb"Received: [^\n]+\n(?:[ \t][^\n]+\n)*")


@pytest.fixture
def postfix(server: Server, home: Path) -> Iterator[Postfix]:
    running = Postfix.start(home, server.port)
    yield running
    running.stop()


def numbered(number: int) -> bytes:
    """A message unlike any other, with all that hurts in it and up to 300 kB of noise."""
    header, _, body = NASTY.partition(b"\n\n")
    noise = random.Random(number).randbytes(300_000 if number % 50 == 7 else 500 * (number % 20))
    lines = [line.translate(None, b"\0\r\n") for line in re.findall(rb"(?s).{1,990}", noise)]
    header = header.replace(b"all-that-hurts@", b"number-%d@" % number)
    return b"\n".join([header, b"X-Number: %d" % number, b"", *lines, body])


def numbers(messages: list[bytes]) -> Counter[bytes]:
    """How often each number is there; for a failure that can be read."""
    return Counter(found for message in messages for found in re.findall(rb"(?m)^X-Number: (\d+)$", message))


def assert_relayed_once(server: Server, sent: list[bytes], protocol: bytes = b"ESMTPS") -> None:
    delivered = new(server.mailboxes / "user1")
    assert all(b"with " + protocol + b" id" in message[:1000] for message in delivered)
    found = [_RELAY_TRACE.sub(b"", as_sent(message), count=1) for message in delivered]
    assert numbers(found) == numbers(sent)
    assert Counter(found) == Counter(sent)


@pytest.mark.requires("postfix")
@SHORT_AND_LONG
def test_postfix_relays(server: Server, postfix: Postfix, count: int) -> None:
    sent = [numbered(number) for number in range(count)]
    submit(postfix.port, sent)
    postfix.process.wait_for_output(": removed", count, LONG)
    assert_relayed_once(server, sent)
    assert "Using ESMTP PIPELINING" in postfix.process.output
    assert "status=deferred" not in postfix.process.output


@pytest.mark.requires("postfix")
def test_postfix_relays_for_a_sender_beyond_ascii(server: Server, postfix: Postfix) -> None:
    submit(postfix.port, [NASTY], "jürgen@bücher.example", "SMTPUTF8")
    postfix.process.wait_for_output(": removed")
    (message,) = new(server.mailboxes / "user1")
    assert sender(message) == "jürgen@bücher.example"
    assert b"with UTF8SMTPS id" in message


@pytest.mark.requires("exim4")
@pytest.mark.parametrize("chunking", [True, False], ids=["bdat", "data"])
@SHORT_AND_LONG
def test_exim_relays(server: Server, home: Path, count: int, chunking: bool) -> None:
    sent = [numbered(number) for number in range(count)]
    log = Exim.configure(home, server.port, chunking).relay(sent, LONG)
    assert_relayed_once(server, sent)
    deliveries = [line.split(' C="')[0].split() for line in log if " => " in line]
    assert len(deliveries) == count
    assert all("L" in words for words in deliveries), "it pipelines"
    assert all(("K" in words) == chunking for words in deliveries)


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    directory = home / "site"
    directory.mkdir()
    with started(directory) as running:
        yield running


@pytest.mark.requires("postfix")
def test_postfix_submits_as_a_user(site: Site, home: Path) -> None:
    postfix = Postfix.start(home, site.ports["submission"], Account(*LOGIN, site.ca))
    sent = [numbered(number) for number in range(5)]
    try:
        submit(postfix.port, sent, RECIPIENT)
        postfix.process.wait_for_output(": removed", len(sent))
    finally:
        postfix.stop()
    assert_relayed_once(site.server, sent, b"ESMTPSA")
    assert "Verified TLS connection established to localhost" in postfix.process.output


@pytest.mark.requires("exim4")
def test_exim_submits_as_a_user(site: Site, home: Path) -> None:
    sent = [numbered(number) for number in range(5)]
    exim = Exim.configure(home, site.ports["submission"], True, Account(*LOGIN, site.ca))
    log = exim.relay(sent, DEADLINE, RECIPIENT)
    assert_relayed_once(site.server, sent, b"ESMTPSA")
    assert any(" => " in line and " CV=yes " in line for line in log)
