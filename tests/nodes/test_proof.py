"""Three nodes on one PostgreSQL: one is killed, one cut off, one frozen, the database restarted, all mid-delivery.

What was acknowledged arrives, whole. A message arrives twice only where the final reply was in flight: the node that
was struck held its lease at that moment. A node has at most so many on their way, which bounds them.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.nodes.cluster import PORT, Cluster, Node, cluster
from tests.nodes.load import Load
from tests.peers.outbound_site import Message

pytestmark = pytest.mark.requires("ip", "initdb")

#: Messages that a node has on their way at most, and seconds that the sink takes for each.
_DELIVERIES, _PAUSE = 10, 0.1
_DOMAINS = 5


class Strikes:
    """What befalls the nodes, each time while something is on its way.

    @ivar doubtful: recipients that a node held when it was struck: they may get two copies.
    """

    def __init__(self, site: Cluster) -> None:
        self._site = site
        self.doubtful: Counter[str] = Counter()
        self.struck = 0

    def restart_database(self) -> None:
        """As after a crash."""
        self._site.sink.wait_for_unsaid(*(node.address for node in self._site.nodes))
        self._site.postgres.stop()
        self._site.postgres.start()
        back = self._site.now()
        for node in self._site.nodes:
            self._site.wait_until_alive(node, back)

    def kill(self, node: Node) -> None:
        """It stays dead; the others take up what it held."""
        self._site.sink.wait_for_unsaid(node.address)
        node.server.kill()
        self._left_by(node)
        self._site.wait_until("NOT EXISTS (SELECT FROM recipients WHERE lease_node = %s)", node.id)

    def cut(self, node: Node) -> None:
        """It is cut off until the others have taken up what it held, and then lives again."""
        self._site.sink.wait_for_unsaid(node.address)
        node.member.cut()
        self._left_by(node)
        self._site.wait_until("NOT EXISTS (SELECT FROM recipients WHERE lease_node = %s)", node.id)
        node.member.mend()
        self._site.wait_until_alive(node, self._site.now())

    def freeze(self, node: Node) -> None:
        """It is stopped until the others have taken up what it held, and then goes on as if nothing had been."""
        self._site.sink.wait_for_unsaid(node.address)
        os.kill(node.server.pid, signal.SIGSTOP)
        self._left_by(node)
        self._site.wait_until("NOT EXISTS (SELECT FROM recipients WHERE lease_node = %s)", node.id)
        os.kill(node.server.pid, signal.SIGCONT)
        self._site.wait_until_alive(node, self._site.now())

    def _left_by(self, node: Node) -> None:
        held = self._site.leased(node)
        assert 0 < len(held) <= _DELIVERIES
        self.doubtful.update(held)
        self.struck += 1


@pytest.mark.parametrize(
    ("messages", "rounds"),
    [(150, 1), pytest.param(20_000, 3, marks=pytest.mark.torture)],
    ids=["short", "long"],
)
@pytest.mark.timeout(3600)
def test_whatever_befalls_the_nodes_what_was_acknowledged_arrives(tmp_path: Path, messages: int, rounds: int) -> None:
    sent = [Message.to(number, f"d{number % _DOMAINS}") for number in range(messages)]
    with cluster(tmp_path, 3, _DELIVERIES, _PAUSE) as site:
        strikes = Strikes(site)
        load = Load([(node.address, PORT) for node in site.nodes], sent)
        share = messages // (5 * rounds)
        for number in range(rounds):
            killed, cut, frozen = site.nodes[number:] + site.nodes[:number]
            load.go_on(share)
            strikes.kill(killed)
            load.go_on(share)
            strikes.cut(cut)
            load.go_on(share)
            strikes.freeze(frozen)
            killed.start()
            load.go_on(share)
            strikes.restart_database()
            before = len(site.sink.taken)
            load.go_on(share)
            site.sink.wait_for_more(before, *(node.address for node in site.nodes))
        load.go_on(messages)
        load.join()
        site.wait_until("NOT EXISTS (SELECT FROM recipients WHERE state = 'queued')")
        for node in site.nodes:
            node.server.stop()
        _judge(site, load, strikes, sent)


def _judge(site: Cluster, load: Load, strikes: Strikes, sent: list[Message]) -> None:
    digests = {message.recipients[0]: message.digest for message in sent}
    assert [copy for copy in site.sink.taken if copy.digest != digests[copy.recipient]] == []
    copies = Counter(copy.recipient for copy in site.sink.taken)
    acknowledged = {message.recipients[0] for message in load.acknowledged}
    assert acknowledged <= copies.keys()
    assert len(acknowledged) + load.unanswered == len(sent)
    assert load.unanswered <= len(sent) // 5
    assert site.rows("SELECT address, state FROM recipients WHERE state <> 'delivered' OR lease_node IS NOT NULL") == []
    # An outcome is written once, whoever thinks that he has delivered.
    written = site.rows("SELECT count(*) FROM attempts WHERE code = 250 GROUP BY recipient_id HAVING count(*) > 1")
    assert written == []
    doubled = copies - Counter(set(copies)) - load.refused
    assert doubled <= strikes.doubtful, doubled - strikes.doubtful
    assert doubled.total() <= strikes.struck * _DELIVERIES
    lost_leases = sum(len(node.events("lease_lost")) for node in site.nodes)
    print(
        f"{len(sent)} messages: {len(acknowledged)} acknowledged, {load.refused.total()} refused and handed in again, "
        f"{load.unanswered} not answered, 0 lost, {doubled.total()} copies too many of {strikes.doubtful.total()} that "
        f"a struck node held, {lost_leases} outcomes not written for a lost lease"
    )
