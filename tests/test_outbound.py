"""Queue and courier joined, on a clock of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mailagent.config import Config
from mailagent.config.outbound import RelaySettings, RouteSettings
from mailagent.config.values import Count, Pattern, Rate
from mailagent.outbound import allowances
from mailagent.queue.lanes import MOST, Allowance
from tests.database.support import Database
from tests.queue.site import Site, running
from tests.queue.support import message
from tests.relay.internet import ONE, Internet
from tests.relay.names import TROUBLE

_RIGHT = {"d.example": ["10 one"], "one": [ONE]}


def minutes(site: Site, internet: Internet, count: int) -> None:
    for _ in range(count):
        site.clock.advance(60)
        internet.run()


def test_after_an_hour_without_dns_everything_is_delivered_once(tmp_path: Path) -> None:
    names: dict[str, Sequence[str] | str] = dict.fromkeys(_RIGHT, TROUBLE)
    with Database(tmp_path) as database, running(database) as site:
        internet = Internet({ONE: {}}, names=names, clock=site.clock)
        site.courier.otherwise = internet.courier.deliver
        site.enqueue(*(message(f"m{number}", "ann@d.example") for number in range(5)))
        minutes(site, internet, 60)
        assert site.states() == ["queued"] * 5
        assert internet.tried == []
        assert all("451 4.4.3" in event["reply"] for event in site.logged("recipient_deferred"))
        names.update(_RIGHT)
        minutes(site, internet, 60)
        assert site.states() == ["delivered"] * 5
        heard = [line for connection in internet.connections for line in connection.server.lines]
        assert sum(line.startswith("MAIL FROM") for line in heard) == 5
        assert site.reports() == []


def test_what_a_destination_gets_is_as_the_configuration_says() -> None:
    relay = RelaySettings(connections=Count(7), rate=Rate((100, 60.0)))
    routes = {Pattern("slow.example"): RouteSettings(rate=Rate((1, 60.0)))}
    allowed = allowances(Config(relay=relay, routes=routes))
    assert allowed("slow.example") == Allowance(7, 60.0)
    assert allowed("fast.example") == Allowance(7, 0.6)
    assert allowances(Config())("any.example") == Allowance(MOST, 0.0)
