"""C{kill -9} at random while several processes take mail and one sends it on: of a session process, of the owner of the
queue, of all at once. What was acknowledged, for a mailbox or for elsewhere, is neither lost nor torn."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random, SystemRandom

import attrs
import pytest

from tests.peers.mail import as_sent
from tests.peers.outbound_site import Load, Message, Site, at_work, bounced, copies, settled
from tests.peers.server import DEADLINE, Server

#: A server that replaces what was killed at once, however often that happens.
_HASTY = """
import sys
from mailagent.workers import supervisor
from twisted.scripts.twistd import run
supervisor.LONGEST_PAUSE = 0.1
run()
"""
WORKER, OWNER, ALL = "worker", "owner", "all"
#: Without a domain, a message is for the mailbox here alone.
_DOMAINS = ("good", "", "slow", "", "good", "refusing", "", "first-dead", "grey", "")
#: Messages that are answered before the next kill, at most.
_MOST = 60


@attrs.define
class Killing:
    """Mail for a server, and its killing.

    @ivar sent: all messages handed in so far.
    @ivar written: what logs call settled; C{twice}, what they did more than once.
    """

    site: Site
    workers: int
    random: Random
    sent: list[Message] = attrs.field(factory=list)
    written: dict[str, str] = attrs.field(factory=dict)
    twice: set[str] = attrs.field(factory=set)
    server: Server = attrs.field(init=False)
    load: Load = attrs.field(init=False)
    over: bool = False

    def begin(self) -> None:
        self.site.configure(workers=self.workers)
        self._start()
        self.load = Load(self.site, self._messages(), sessions=12, hasty=4)

    def _messages(self) -> Iterator[Message]:
        for number in itertools.count():
            if self.over:
                return
            domain = _DOMAINS[number % len(_DOMAINS)]
            domains, both = [domain] if domain else [], number % 7 == 3
            self.sent.append(Message.to(number, *domains, with_bob=both or not domain))
            yield self.sent[-1]

    def _start(self) -> None:
        self.server = self.site.start()
        self.server.wait_for_output('"worker_started"', self.workers)

    def _serving(self) -> list[dict[str, int]]:
        return [json.loads(line) for line in self.server.lines if '"worker_started"' in line]

    def kill(self, whom: str) -> None:
        """Do it at an instant that chance chooses, and go on as soon as there is a server again."""
        self.load.wait_for(self.load.ended + self.random.randint(1, _MOST))
        serving = self._serving()
        if whom == WORKER:
            chosen = self.random.randint(1, self.workers)
            os.kill({each["worker"]: each["pid"] for each in serving}[chosen], signal.SIGKILL)
            self.server.wait_for_output('"worker_started"', len(serving) + 1)
            return
        orphans = [os.pidfd_open(pid) for pid in {each["worker"]: each["pid"] for each in serving}.values()]
        if whom == OWNER:
            os.kill(self.server.pid, signal.SIGKILL)
        else:
            os.killpg(self.server.pid, signal.SIGKILL)
        self.load.down()
        self.server.wait()
        for orphan in orphans:
            assert select.select([orphan], [], [], DEADLINE)[0], "a worker has outlived its owner"
            os.close(orphan)
        self._gather()
        self._start()
        self.load.up()

    def _gather(self) -> None:
        """What the log of a server that has ended calls settled has not been called so before."""
        found = settled(self.server)
        self.twice.update(found.keys() & self.written.keys())
        self.written.update(found)

    def finish(self) -> None:
        """Take what is on its way, send on all of it, and stop."""
        self.over = True
        self.load.join()
        self.site.wait_until_empty()
        self.server.stop()
        self._gather()


def here(site: Site, sent: list[Message]) -> Counter[int]:
    """How many copies Bob has of each message; each is whole."""
    found: Counter[int] = Counter()
    for stored in site.mailbox("bob"):
        text = as_sent(stored)
        number = int(text.rpartition(b".dot ")[2])
        assert text == sent[number].octets.replace(b"\r\n", b"\n"), f"message {number} is torn"
        found[number] += 1
    return found


@pytest.mark.parametrize(
    ("workers", "times"),
    [(2, 1), pytest.param(2, 100, marks=pytest.mark.torture), pytest.param(3, 20, marks=pytest.mark.torture)],
)
@pytest.mark.timeout(3600)
def test_whoever_is_killed_what_was_acknowledged_is_kept(tmp_path: Path, workers: int, times: int) -> None:
    seed = int(os.environ.get("SEED") or SystemRandom().randrange(2**32))
    print(f"SEED={seed}")
    random = Random(seed)
    order = [WORKER, OWNER, ALL] * times
    random.shuffle(order)
    with at_work(tmp_path) as site:
        site.program = (sys.executable, "-c", _HASTY)
        killing = Killing(site, workers, random)
        killing.begin()
        for whom in order:
            killing.kill(whom)
        killing.finish()
        states = site.states()
        site.world.end()
        examine(killing, states)


def examine(killing: Killing, states: dict[str, str]) -> None:
    """All that was acknowledged is somewhere, and nothing is torn."""
    site, load = killing.site, killing.load
    assert {code // 100 for _, code in load.refused} <= {4}
    assert not killing.twice
    taken, bob, reports = copies(site.world.taken(), killing.sent), here(site, killing.sent), site.reports()
    reported = bounced(set(reports))  # one may have been delivered twice, but not made twice
    refusing = {each for each in states if each.endswith("@refusing.test")}
    assert set(states.values()) <= {"delivered", "failed"}
    assert {each for message in load.acknowledged for each in message.recipients} <= taken.keys() | reported.keys()
    assert set(taken) == set(states) - refusing
    assert reported == Counter(refusing)
    assert {each.number for each in load.acknowledged if each.with_bob} <= bob.keys()
    print(
        f"{killing.workers} workers, {len(killing.sent)} messages: {len(load.acknowledged)} acknowledged, "
        f"{len(load.refused)} refused for now, {len(load.unanswered)} not answered; 0 lost, 0 torn; copies too many: "
        f"{taken.total() - len(taken)} out, {bob.total() - len(bob)} here, {len(reports) - len(set(reports))} reports"
    )
