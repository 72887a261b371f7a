"""A node that reaches the database, and no other host: it keeps no mail from the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nodes.cluster import PORT, cluster
from tests.nodes.load import Load
from tests.peers.outbound_site import Message

pytestmark = pytest.mark.requires("ip", "initdb")

_DOMAINS = 3


def test_what_one_node_cannot_reach_the_others_deliver(tmp_path: Path) -> None:
    sent = [Message.to(number, f"d{number % _DOMAINS}") for number in range(30)]
    with cluster(tmp_path, 3, 10, 0.0) as site:
        cut_off, *others = site.nodes
        cut_off.member.lose_the_outside()
        load = Load([(cut_off.address, PORT)], sent)
        load.go_on(len(sent))
        load.join()
        site.wait_until("NOT EXISTS (SELECT FROM recipients WHERE state = 'queued')")
        held = cut_off.events("destination_held")
        assert 0 < len({event["destination"] for event in held}) <= _DOMAINS
        assert [node.events("destination_held") for node in others] == [[], []]
        assert site.rows("SELECT name FROM destinations WHERE held_until > 0") == []
        assert sorted(copy.recipient for copy in site.sink.taken) == sorted(each.recipients[0] for each in sent)
