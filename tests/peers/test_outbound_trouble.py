"""A database that is full or held by another process, a stop in the midst of deliveries, a clock that is set, a second
server."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.outbound_site import Load, Message, Site, at_work, copies
from tests.peers.server import DEADLINE, TWISTD, environment
from tests.peers.test_storage_trouble import Mount, fill, mount

__all__ = ["mount"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with at_work(tmp_path) as site:
        site.configure()
        yield site


def handed_in(site: Site, *messages: Message) -> Load:
    """Messages, handed in one after the other."""
    load = Load(site, messages, sessions=1)
    load.join()
    return load


def assert_all_delivered_once(site: Site, messages: list[Message]) -> None:
    """And nothing else."""
    assert_delivered_once(site, messages)
    assert not site.reports()


def assert_delivered_once(site: Site, messages: list[Message]) -> None:
    """And no other message; but there may be reports."""
    site.wait_until_empty()
    site.servers[-1].stop()
    site.world.end()
    assert copies(site.world.taken(), messages) == Counter(each for one in messages for each in one.recipients)
    assert set(site.states().values()) == {"delivered"}


@contextlib.contextmanager
def held(database: Path) -> Iterator[None]:
    """Another process's transaction, which keeps everybody else from writing."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def test_a_database_held_by_another_process_answers_4yz_and_goes_on_afterwards(site: Site) -> None:
    server = site.start()
    before, during, after = (Message.to(number, "slow", with_bob=True) for number in range(3))
    assert handed_in(site, before).acknowledged == [before]
    site.world.wait_for(1)
    # The reply is on its way now, and what came of it cannot be written.
    with held(site.database):
        load = handed_in(site, during)
        assert load.refused == [(during, 451)]
        server.wait_for("queue_trouble")
    server.wait_for("queue_recovered")
    assert handed_in(site, after).acknowledged == [after]
    assert_all_delivered_once(site, [before, after])
    assert len(site.mailbox("bob")) == 2


@pytest.mark.requires("mount", "umount")
def test_a_full_database_answers_452_until_there_is_room(site: Site, mount: Mount) -> None:
    state = site.directory / "state"
    mount(state, "size=4m,mode=0711")
    site.start()
    first, *refused, last = (Message.to(number, "good", with_bob=True) for number in (0, 3, 50, 150, 7))
    assert handed_in(site, first).acknowledged == [first]
    site.wait_until_empty()
    fill(state / "filler")
    load = handed_in(site, *refused)
    assert load.refused == [(each, 452) for each in refused]
    (state / "filler").unlink()
    assert handed_in(site, last).acknowledged == [last]
    assert_all_delivered_once(site, [first, last])
    assert len(site.mailbox("bob")) == 2


def test_a_stop_in_the_midst_of_deliveries_loses_and_doubles_nothing(site: Site) -> None:
    server = site.start()
    domains = ("slow", "good", "grey", "slow")
    messages = [Message.to(number, domains[number % len(domains)]) for number in range(40)]
    load = Load(site, messages)
    load.wait_for(len(messages))
    load.join()
    site.world.wait_for(5)
    server.stop()
    assert site.unfinished()
    assert site.queue("list", "--state", "active") == []
    site.start()
    assert_all_delivered_once(site, messages)


def test_what_does_not_end_in_time_is_given_back_at_a_stop(site: Site) -> None:
    site.configure(stop_time="1 s")
    server = site.start("debug")
    handed_in(site, Message.to(1, "silent"))
    server.wait_for_output('"command": "EHLO')
    server.stop()
    assert set(site.states().values()) == {"queued"}


def test_a_clock_that_is_set_back_makes_no_wait_longer(site: Site) -> None:
    site.set_clock(0)
    server = site.start()
    handed_in(site, Message.to(1, "dead"))
    server.wait_for("destination_held")
    site.set_clock(-86400)
    assert len(site.queue("retry", "--all")) == 1
    server.wait_for_output('"event": "destination_held"', 2)
    assert all(event["seconds"] <= 60 for event in server.events("destination_held"))
    server.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "leaps",
    # What came while it was ahead is found once it is set back, but not at once.
    [(86400,), pytest.param((86400, 0, -86400, 3600) * 25, marks=pytest.mark.torture)],
    ids=["ahead", "to and fro"],
)
def test_a_clock_that_leaps_under_load_with_two_processes_is_nobodys_trouble(
    site: Site, leaps: tuple[int, ...]
) -> None:
    site.configure(workers=2)
    site.set_clock(0)
    server = site.start()
    domains = ("good", "grey", "good", "slow")
    messages = [Message.to(n, domains[n % len(domains)], with_bob=n % 3 == 0) for n in range(20 * (len(leaps) + 1))]
    load = Load(site, messages, hasty=4)
    for number, ahead in enumerate(leaps, 1):
        load.wait_for(20 * number)
        site.set_clock(ahead)
    load.join()
    assert len(load.acknowledged) == len(messages)
    assert_delivered_once(site, messages)  # reports of delays are right: so it seemed
    assert not server.events("worker_ended")
    assert len(site.mailbox("bob")) == sum(each.with_bob for each in messages)


def test_a_second_server_with_the_same_state_directory_refuses_in_one_line(site: Site) -> None:
    server = site.start()
    command = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--listen", "tcp:0:interface=127.0.0.1"]
    second = subprocess.run(
        command, cwd=site.directory, env=environment(), capture_output=True, timeout=DEADLINE, text=True, check=False
    )
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    assert "another server runs with the state directory" in second.stderr
    message = Message.to(1, "good")
    handed_in(site, message)
    assert_all_delivered_once(site, [message])
    assert server.events("error") == []
