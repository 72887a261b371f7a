"""C{kill -9} while mail is handed in and goes out: what was acknowledged is neither lost nor torn.

A message may be delivered twice where the reply to its last line, or the commit after it, was in flight at a kill;
never after the log, which is written after that commit, has called it delivered.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.peers.outbound_site import Load, Message, at_work, bounced, copies, settled

SHORT_AND_LONG = pytest.mark.parametrize(
    ("messages", "kills"), [(200, 3), pytest.param(5000, 30, marks=pytest.mark.torture)]
)
_DOMAINS = ("good", "slow", "good", "refusing", "good", "first-dead", "grey")


@SHORT_AND_LONG
@pytest.mark.timeout(900)
def test_a_killed_server_neither_loses_nor_repeats_what_it_has_written_down(
    tmp_path: Path, messages: int, kills: int
) -> None:
    sent = [Message.to(n, _DOMAINS[n % len(_DOMAINS)], with_bob=n % 10 == 9) for n in range(messages)]
    with at_work(tmp_path) as site:
        site.configure()
        server = site.start()
        load = Load(site, sent)
        written: dict[str, str] = {}
        twice: set[str] = set()

        def gather() -> None:
            """What the log of a server that has ended calls settled has not been called so before."""
            found = settled(server)
            twice.update(found.keys() & written.keys())
            written.update(found)

        for number in range(1, kills + 1):
            load.wait_for(number * messages // (kills + 1))
            load.down()
            server.kill()
            gather()
            server = site.start()
            load.up()
        load.join()
        acknowledged = {recipient for message in load.acknowledged for recipient in message.recipients}
        site.wait_until_empty()
        server.stop()
        gather()
        states = site.states()
        site.world.end()
        assert load.refused == []
        assert not twice
        taken = copies(site.world.taken(), sent)
        reports = site.reports()
        reported = bounced(set(reports))  # one may have been delivered twice, but not made twice
        refusing = {each for each in states if each.endswith("@refusing.test")}
        assert acknowledged <= taken.keys() | reported.keys()
        assert set(taken) == set(states) - refusing
        assert reported == Counter(refusing)
        doubled = Counter(taken) - Counter(set(taken))
        bob = Counter(int(text.rpartition(b".dot ")[2]) for text in site.mailbox("bob"))
        assert {each.number for each in load.acknowledged if each.with_bob} <= bob.keys()
        print(
            f"{messages} messages, {kills} kills: {len(load.acknowledged)} acknowledged, {len(load.unanswered)} not "
            f"answered, 0 lost, {doubled.total()} copies too many out, "
            f"{bob.total() - len(bob) + len(reports) - len(set(reports))} here"
        )
