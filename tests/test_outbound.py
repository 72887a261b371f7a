"""Queue and courier joined, on a clock of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger

from mailagent.config import Config
from mailagent.config.outbound import QueueSettings, RelaySettings, RouteSettings
from mailagent.config.values import ConfiguredPath, Count, Pattern, Rate, Url
from mailagent.outbound import Outbound, allowances
from mailagent.queue.lanes import MOST, Allowance
from mailagent.queue.store import Store
from tests.database.kinds import only_postgresql
from tests.database.support import Database
from tests.queue.site import Site, running
from tests.queue.support import NOW, STORED, all_as, message
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


class Turns(Clock):
    """A reactor whose turns are the test's, for threads that are real."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        self._calls.put((function, args))

    def turn(self) -> None:
        """Wait until a thread wants something, and do it."""
        function, args = self._calls.get(timeout=30)
        function(*args)
        self.advance(0)


@only_postgresql
def test_a_heartbeat_does_not_wait_for_what_another_node_has_locked(database: Database, tmp_path: Path) -> None:
    url = Url(database.url.render_as_string(hide_password=False))
    config = Config(state=ConfiguredPath(str(tmp_path)), queue=QueueSettings(url=url))
    turns = Turns()
    nobody: Any = None
    outbound = Outbound(config, nobody, nobody, lambda: "id", lambda: [], turns, lambda: NOW, Logger("test"))
    database.execute("INSERT INTO destinations (name, held_until, reason) VALUES ('there.example', 0, '')")
    outbound.prepare()
    outbound.start()
    with database.engine.begin() as other:
        other.exec_driver_sql("SELECT * FROM destinations FOR UPDATE")
        while database.rows("SELECT count(*) FROM nodes") == [0]:
            turns.advance(0.01)
        taken = outbound.enqueue_small([message("m1", "bob@there.example")], b"")
        turns.advance(0)
        database.execute("UPDATE nodes SET heartbeat = 0")
        while database.rows("SELECT heartbeat FROM nodes") == [0]:
            turns.turn()
            turns.advance(config.queue.lease / 4)
        assert not taken.called
    stopped = outbound.stop(0.0)
    while not stopped.called:
        turns.turn()
        turns.advance(1.0)
    assert taken.called


@only_postgresql
@pytest.mark.parametrize("wrong", [-1e7, 1e7])
def test_mail_of_a_node_whose_clock_is_wrong_is_neither_given_up_nor_put_off(
    database: Database, tmp_path: Path, wrong: float
) -> None:
    url = Url(database.url.render_as_string(hide_password=False))
    config = Config(state=ConfiguredPath(str(tmp_path)), queue=QueueSettings(url=url))
    turns, now = Turns(), time.time()
    nobody: Any = None
    outbound = Outbound(config, nobody, nobody, lambda: "id", lambda: [], turns, lambda: now + wrong, Logger("test"))
    other = Store("other")
    database.write(other.start)
    database.write(other.insert, [message("ended", "bob@there.example")], b"", now - 1e6)
    [ended] = database.write(other.claim, now, 1)
    database.write(other.settle, ended, all_as(ended, STORED), [], now - 1e6, 0.0)
    database.write(other.insert, [message("m1", "bob@there.example")], b"", now)
    database.execute("UPDATE destinations SET held_until = ?, ready = ?", now + 1000, now + 1000)
    outbound.prepare()
    outbound.start()
    taken = outbound.enqueue_small([message("m2", "bob@there.example")], b"")
    turns.advance(0)
    while not taken.called:
        turns.turn()
    while len(messages := database.rows("SELECT id, created FROM messages ORDER BY id")) == 3:  # until the first sweep
        turns.turn()
        turns.advance(1.0)
    assert [id_ for id_, _ in messages] == ["m1", "m2"]
    assert abs(messages[1][1] - now) < 60
    assert database.rows("SELECT state FROM recipients WHERE state <> 'queued'") == []
    stopped = outbound.stop(0.0)
    while not stopped.called:
        turns.turn()
        turns.advance(1.0)
