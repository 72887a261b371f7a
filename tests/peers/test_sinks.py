"""Postfix's C{smtp-sink} takes our mail, and misbehaves at every stage in every way it knows.

Each recipient ends as RFC 5321 has it: what a server says before MAIL is no word on the message, a 5yz from MAIL on is
final, and whatever is lost after the final dot is sent again.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers.mail import NASTY, as_received, reported
from tests.peers.sending import DEFERRED, DELIVERED, FAILED, SENDER, Sending, mail_exchange, sending
from tests.peers.server import free_port
from tests.peers.sinks import messages, sink

STAGES = ("connect", "ehlo", "mail", "rcpt", "data", ".")
#: Option, commands, and what comes of a recipient.
MISBEHAVIOUR = [
    ("-f", "connect", DEFERRED),
    ("-f", "ehlo", DELIVERED),  # HELO is good enough
    ("-f", "ehlo,helo", DEFERRED),
    ("-f", "mail", FAILED),
    ("-f", "rcpt", FAILED),
    ("-f", "data", FAILED),
    ("-f", ".", FAILED),
    ("-f", "quit", DELIVERED),
    ("-r", "connect", DEFERRED),
    ("-r", "ehlo,helo", DEFERRED),
    ("-r", "mail", DEFERRED),
    ("-r", "rcpt", DEFERRED),
    ("-r", "data", DEFERRED),
    ("-r", ".", DEFERRED),
    ("-r", "quit", DELIVERED),
    *[(option, stage, DEFERRED) for option in ("-q", "-Q") for stage in STAGES],
    ("-q", "quit", DELIVERED),
    ("-Q", "quit", DELIVERED),
    *[("-W", f"{stage}:1", DELIVERED) for stage in (*STAGES, "quit")],
]  # fmt: skip
SLOW = [("-W", f"{stage}:20", DELIVERED) for stage in (*STAGES, "quit")]

_TORTURE = pytest.mark.torture
#: What also a server without extensions can take.
PLAIN = NASTY.decode().encode("ascii", "replace").replace(b"8bit", b"7bit")


def _options(option: str, stages: str) -> list[str]:
    """What to tell a sink. One that is slow answers pipelined commands in the wrong order."""
    return [option, stages, *(["-p"] if option == "-W" else [])]


@pytest.mark.requires("smtp-sink")
@pytest.mark.parametrize("modes", [MISBEHAVIOUR, pytest.param(SLOW, marks=_TORTURE)], ids=["all", "slow"])
@pytest.mark.parametrize("count", [1, pytest.param(20, marks=_TORTURE)])
def test_every_recipient_ends_as_the_server_has_earned(
    home: Path, modes: list[tuple[str, str, str]], count: int
) -> None:
    port = free_port()
    hosts = {f"sink{number}.example": f"127.0.1.{number}" for number in range(1, len(modes) + 1)}
    with ExitStack() as sinks:
        for (option, stages, _), address in zip(modes, hosts.values(), strict=True):
            sinks.enter_context(sink(address, port, *_options(option, stages), captured=home / address))
        with sending(home, port, mail_exchange(hosts)) as site:
            for _ in range(count):
                site.submit(PLAIN, *(f"someone@{domain}" for domain in hosts))
            refused = sum(end == FAILED for _, _, end in modes)
            if count == 1:
                site.await_ends(len(modes) + refused)  # and a bounce for each that was refused
            else:
                await_all(site, count, modes, hosts)
            for (option, stages, end), (domain, address) in zip(modes, hosts.items(), strict=True):
                mode = f"{option} {stages}"
                ended = {event["event"] for event in site.ends().get(f"someone@{domain}", [])}
                assert ended == {end}, mode
                # What was whole at the sink when it went away counts as captured there.
                taken = list(map(as_received, messages(home / address)))
                assert set(taken) <= {PLAIN}, mode
                if end == DELIVERED:
                    assert len(taken) == count, mode
            assert_bounced(site, count, modes, list(hosts))


def await_all(site: Sending, count: int, modes: list[tuple[str, str, str]], hosts: dict[str, str]) -> None:
    """Return once every message has ended where the server does take, or refuse, messages."""
    decided = {f"someone@{domain}" for (*_, end), domain in zip(modes, hosts, strict=True) if end != DEFERRED}
    refused = sum(end == FAILED for *_, end in modes)

    def happened() -> bool:
        ends = site.ends()
        return (
            all(len(ends.get(each, [])) == count for each in decided) and len(ends.get(SENDER, [])) == refused * count
        )

    site.server.wait_until(happened, "all messages' ends", 240.0)


def assert_bounced(site: Sending, count: int, modes: list[tuple[str, str, str]], domains: list[str]) -> None:
    """The sender has one report of each that failed, and of no other."""
    failed = {f"someone@{domain}" for (*_, end), domain in zip(modes, domains, strict=True) if end == FAILED}
    reports = [reported(message) for message in site.mailbox("user1")]
    found = Counter(status["Final-Recipient"].removeprefix("rfc822; ") for status in reports)
    assert found == dict.fromkeys(failed, count)
    assert {(status["Action"], status["Status"]) for status in reports} <= {("failed", "5.3.0")}
    assert site.mailbox("user2") == []


@pytest.mark.requires("smtp-sink")
def test_what_was_lost_after_the_final_dot_is_sent_again(home: Path) -> None:
    port = free_port()
    with sending(home, port, mail_exchange({"sink.example": "127.0.1.1"})) as site:
        with sink("127.0.1.1", port, "-q", "."):
            site.submit(NASTY, "someone@sink.example")
            site.await_ends(1)
        (listed,) = map(json.loads, site.command("queue", "list", "--json").splitlines())
        assert (listed["state"], listed["attempts"]) == ("queued", 1)
        with sink("127.0.1.1", port, captured=home / "captured"):
            site.command("queue", "retry", "--all")
            first, second = site.await_ends(2)["someone@sink.example"]
        assert (first["event"], second["event"]) == (DEFERRED, DELIVERED)
        assert list(map(as_received, messages(home / "captured"))) == [NASTY]
        assert site.mailbox("user1") == []


@pytest.mark.requires("smtp-sink")
def test_mail_goes_out_as_soon_as_a_dead_server_lives_and_the_operator_says_so(home: Path) -> None:
    port = free_port()
    with sending(home, port, mail_exchange({"sink.example": "127.0.1.1"})) as site:
        site.submit(NASTY, "someone@sink.example")
        site.await_ends(1)
        with sink("127.0.1.1", port, captured=home / "captured"):
            site.command("queue", "retry", "--all")
            first, second = site.await_ends(2)["someone@sink.example"]
        assert (first["event"], second["event"]) == (DEFERRED, DELIVERED)
        assert list(map(as_received, messages(home / "captured"))) == [NASTY]
