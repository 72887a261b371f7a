"""The queue on a real PostgreSQL that goes away and comes back, while mail comes in and goes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mailagent.database.bell import CHANNEL
from tests.peers.outbound_site import LONG, Load, Message, Site, at_work, copies
from tests.peers.server import DEADLINE, Server
from tests.postgres import Postgres, running

pytestmark = pytest.mark.requires("initdb")
_UNFINISHED = "SELECT count(*) FROM recipients WHERE state = 'queued'"


@pytest.fixture
def server() -> Iterator[Postgres]:
    """One that may be stopped."""
    with running("fsync = on") as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, server: Postgres) -> Iterator[Site]:
    """Its queue is the server's C{test1}."""
    with at_work(tmp_path) as site:
        site.configure(url=server.url(server.database(), "127.0.0.1").render_as_string())
        yield site


def trouble(server: Server, verb: str) -> list[str]:
    """What the log has of the database's going and coming back, for one who reads or writes."""
    events = server.events()
    return [each["event"] for each in events if each["event"].startswith("queue_") and each["verb"] == verb]


def wait_until_empty(site: Site, postgres: Postgres) -> None:
    """Return when nothing waits any more. (Where a commit was not answered, the log need not have the outcome.)"""
    # Each session and attempt leaves lines: the last of them are written when it is.
    site.servers[-1].wait_until(lambda: postgres.execute(_UNFINISHED, database="test1") == [(0,)], "empty queue", LONG)


def test_those_who_share_the_queue_hear_of_new_mail_and_of_the_operator(site: Site, server: Postgres) -> None:
    site.start()
    with psycopg.connect(
        host=str(server.directory), port=server.port, user="mail", dbname="test1", autocommit=True
    ) as other:
        other.execute(f"LISTEN {CHANNEL}".encode())

        def hears() -> bool:
            return bool(list(other.notifies(timeout=DEADLINE, stop_after=1)))

        Load(site, [Message.to(1, "dead")], sessions=1).join()
        assert hears()
        assert len(site.queue("retry", "--all")) == 1
        assert hears()
    site.servers[-1].stop()


def test_a_start_without_the_database_ends_with_one_line_that_says_why(site: Site, server: Postgres) -> None:
    server.stop()
    ours = site.start(listens=False)
    assert ours.wait() == 1
    assert len(ours.errors.splitlines()) == 1
    assert "refused" in ours.errors


def handed_in(site: Site, numbers: range) -> Load:
    """Messages that are being handed in by several sessions; some go to a mailbox here as well."""
    domains = ("good", "slow", "grey", "good")
    return Load(site, [Message.to(n, domains[n % 4], with_bob=n % 10 == 0) for n in numbers], sessions=6)


@pytest.mark.timeout(300)
def test_a_database_that_is_restarted_costs_no_mail_and_no_restart_of_ours(site: Site, server: Postgres) -> None:
    ours = site.start()
    going = handed_in(site, range(300))
    going.wait_for(60)
    server.stop()
    ours.wait_for("queue_trouble")
    going.join()
    away = handed_in(site, range(300, 320))
    away.join()
    coming = handed_in(site, range(320, 520))
    server.start()
    ours.wait_for("queue_recovered")
    coming.join()
    back = handed_in(site, range(520, 540))
    back.join()
    wait_until_empty(site, server)
    assert ours.lives
    ours.stop()
    site.world.end()
    loads = [going, away, coming, back]
    assert {code for load in loads for _, code in load.refused} == {451}
    assert [len(load.unanswered) for load in loads] == [0] * 4
    assert (len(away.refused), len(back.acknowledged)) == (20, 20)
    assert trouble(ours, "written") == ["queue_trouble", "queue_recovered"]
    assert trouble(ours, "read") in ([], ["queue_trouble", "queue_recovered"])
    messages = [message for load in loads for message in [*load.acknowledged, *(each for each, _ in load.refused)]]
    taken = copies(site.world.taken(), messages)
    assert {each for load in loads for one in load.acknowledged for each in one.recipients} <= set(taken)
    assert set(taken.values()) == {1}
