"""Where an attempt goes by a route."""

from __future__ import annotations

import pytest

from tests.relay.internet import THREE, Internet, everything, replies, to, verified
from tests.smtp.outgoing_server import OK

LOOPBACK = "127.0.0.1"


def test_a_route_to_a_server_asks_for_no_mx() -> None:
    internet = Internet({THREE: {}}, config=everything(to("smtp:smart.example:2525")))
    assert replies(internet.deliver()) == [OK]
    assert internet.tried == [(THREE, 2525)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_route_may_lead_to_this_machine(host: str) -> None:
    internet = Internet({LOOPBACK: {}}, config=everything(to(f"smtp:{host}:25")))
    assert replies(internet.deliver()) == [OK]


def test_a_routes_server_that_does_not_exist_bounces_nothing() -> None:
    internet = Internet({}, config=everything(to("smtp:gone.example:25")))
    attempted = internet.deliver()
    assert [reply[:9] for reply in replies(attempted)] == ["451 4.4.4"]
    assert attempted.hold == 60


@pytest.mark.parametrize(
    ("way", "place"), [("lmtp:unix:/run/lmtp", ("/run/lmtp", 0)), ("lmtp:127.0.0.1:24", (LOOPBACK, 24))]
)
def test_lmtp_is_spoken_over_tcp_and_local_sockets(way: str, place: tuple[str, int]) -> None:
    script = {"LHLO": "250-mx\r\n250 STARTTLS"}
    internet = Internet({place[0]: script}, config=everything(to(way)))
    assert replies(internet.deliver()) == [OK]
    assert internet.tried == [place]
    assert internet.heard(0)[0] == "LHLO us.example"
    assert verified(internet) == [False] * bool(place[1])  # a local socket needs no TLS
