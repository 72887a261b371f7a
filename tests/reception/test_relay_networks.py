"""Whose clients may send anywhere."""

from __future__ import annotations

import pytest

from mailagent.envelope.trace import Client
from mailagent.reception.relay_networks import RelayNetworks

NETWORKS = RelayNetworks.of(["192.0.2.0/24", "2001:db8::1"])


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::1"])
def test_a_client_in_a_listed_network_is_in(address: str) -> None:
    assert Client(address) in NETWORKS
    assert Client(address) not in RelayNetworks()


@pytest.mark.parametrize("address", ["192.0.3.9", "2001:db8::2", "", "unknown"])
def test_everybody_else_is_not(address: str) -> None:
    assert Client(address) not in NETWORKS
