"""Mail for a mixture of good, slow, greylisting, refusing, dead and hostile hosts.

Each recipient ends in the right state. Every failed one is in exactly one correct report to the sender, and none is in
two mailboxes.
"""

from __future__ import annotations

from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.peers.outbound_site import (
    Load,
    Message,
    Site,
    at_work,
    bounced,
    copies,
    wait_until_settled,
)
from tests.peers.world import ALL

SHORT_AND_LONG = pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.torture)])
DAY = 86400


def mixture(count: int) -> list[Message]:
    """To all kinds of hosts in turn; every tenth to three, and to a mailbox here."""
    names = [name for name, character in ALL.items() if not character.silent]  # those take minutes
    domains = islice(cycle(names), count)
    return [
        Message.to(number, name, names[number * 7 % len(names)], "good", with_bob=True)
        if number % 10 == 9 and len({name, names[number * 7 % len(names)], "good"}) == 3
        else Message.to(number, name)
        for number, name in enumerate(domains)
    ]


def expected(messages: list[Message]) -> dict[str, str]:
    """The state in which each recipient must end."""
    return {
        recipient: ALL[recipient.partition("@")[2].removesuffix(".test")].state
        for message in messages
        for recipient in message.recipients
    }


def assert_copies(site: Site, messages: list[Message]) -> None:
    """Who takes mail and says so has one copy of each."""
    found = copies(site.world.taken(), messages)
    for recipient in expected(messages):
        character = ALL[recipient.partition("@")[2].removesuffix(".test")]
        if character.copies is not None:
            assert found[recipient] == character.copies, recipient
    numbers = Counter(int(text.rpartition(b".dot ")[2]) for text in site.mailbox("bob"))
    assert numbers == Counter(message.number for message in messages if message.with_bob)


@SHORT_AND_LONG
@pytest.mark.timeout(900)
def test_a_mixture_of_hosts_ends_in_exactly_the_right_states(tmp_path: Path, count: int) -> None:
    messages = mixture(count)
    wanted = expected(messages)
    with at_work(tmp_path) as site:
        site.configure()
        server = site.start()
        load = Load(site, messages)
        load.join()
        assert len(load.acknowledged) == count
        wait_until_settled(server, [recipient for recipient, state in wanted.items() if state != "expired"])
        site.wait_until_reported()
        server.stop()
        # What is left is never going to be taken. By the clock it has waited for six days, and the server gives it up.
        site.set_clock(6 * DAY)
        restarted = site.start()
        site.wait_until_empty()
        restarted.stop()
        assert site.states() == wanted
        site.world.end()
        assert_copies(site, messages)
        assert bounced(site.reports()) == Counter(
            recipient for recipient, state in wanted.items() if state != "delivered"
        )
        print(f"{count} messages: {dict(Counter(wanted.values()))}, {len(site.mailbox('ann'))} reports")
