"""One connection for many messages of a destination."""

from __future__ import annotations

from typing import Any

import pytest

from mailagent.config.values import Count
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.relay.connections import FRESH
from tests.relay.internet import EVE, ONE, Internet, attempt, configured, replies, to_ann
from tests.smtp.outgoing_server import DROP, OK


def test_a_connection_serves_the_next_message() -> None:
    internet = Internet({ONE: {}})
    for _ in range(3):
        assert replies(internet.deliver()) == [OK]
    assert len(internet.connections) == 1
    assert len(internet.connections[0].server.messages) == 3


def test_an_idle_connection_is_closed_in_good_order() -> None:
    internet = Internet({ONE: {}})
    internet.deliver()
    internet.clock.advance(5)
    internet.run()
    assert internet.heard(0)[-1] == "QUIT"
    internet.deliver()
    assert len(internet.connections) == 2


def test_a_connection_takes_only_so_many_messages() -> None:
    internet = Internet({ONE: {}}, config=configured(messages_per_connection=Count(2)))
    for _ in range(4):
        internet.deliver()
    assert len(internet.connections) == 2
    assert internet.heard(0)[-1] == "QUIT"


def test_a_connection_that_has_died_meanwhile_costs_nothing() -> None:
    internet = Internet({ONE: {"RSET": "421 4.4.2 Too long"}})
    for _ in range(2):
        assert replies(internet.deliver()) == [OK]
        internet.clock.advance(FRESH)
    assert len(internet.connections) == 2


def test_a_connection_used_a_moment_ago_is_not_asked_whether_it_lives() -> None:
    internet = Internet({ONE: {}})
    internet.deliver()
    internet.deliver()
    assert "RSET" not in internet.heard(0)


@pytest.mark.parametrize("word", ["421 4.4.2 Too many", DROP])
def test_one_that_ends_then_all_the_same_has_its_server_asked_again(word: str) -> None:
    internet = Internet({ONE: {}})
    internet.deliver()
    internet.connections[0].server.script = {"MAIL": word}
    attempted = internet.deliver()
    assert (replies(attempted), attempted.hold) == ([OK], 0)
    assert internet.places == [ONE, ONE]


def test_another_demand_on_tls_takes_another_connection() -> None:
    internet = Internet({ONE: {}})
    internet.deliver()
    internet.config = configured("require")
    internet.servers[ONE] = {"EHLO": "250-mx\r\n250 STARTTLS"}
    assert replies(internet.deliver()) == [OK]
    assert len(internet.connections) == 2


def test_a_connection_is_not_used_for_more_domains_than_its_server_takes() -> None:
    names = {"d.example": ["10 one"], "e.example": ["10 one"], "one": [ONE]}
    internet = Internet({ONE: {"EHLO": "250-mx\r\n250 LIMITS RCPTDOMAINMAX=1"}}, names=names)
    at_e = attempt(Envelope(EVE, (Address("ann", "e.example"),)), destination="e.example")
    for each in (to_ann(), at_e, to_ann(), at_e):
        assert replies(internet.deliver(each)) == [OK]
    assert [len(connection.server.messages) for connection in internet.connections] == [2, 2]


def test_all_idle_connections_are_closed_at_a_stop() -> None:
    internet = Internet({ONE: {}})
    internet.deliver()
    closed: list[Any] = []
    internet.courier.close().addCallback(closed.append)
    internet.run()
    assert internet.heard(0)[-1] == "QUIT"
    assert closed
    internet.deliver()
    assert internet.heard(1)[-1] == "QUIT"  # nor is one kept from then on
    assert not internet.clock.getDelayedCalls()
