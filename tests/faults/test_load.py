"""Trouble under load: no descriptors left, a mailbox that goes and comes back, a storm of SIGHUP."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from pathlib import Path
from select import select

import pytest

from tests.faults.site import (
    ELSEWHERE,
    LARGE,
    SMALL,
    USER1,
    USER2,
    Held,
    Load,
    Site,
    hang_up,
    lose_and_regain_a_mailbox,
    send,
    started,
)

SHORT_AND_LONG = pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=pytest.mark.torture)])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server as it is, whose calls nobody makes fail."""
    with started(tmp_path_factory.mktemp("site")) as site:
        yield site


@contextmanager
def descriptors(pid: int, more: int) -> Iterator[None]:
    """Let a process have so many descriptors more than it has now: no number that is free beyond these."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    looks = [used := _used(pid)]
    while len(looks) < 20:  # what is closed a moment later would leave room after all
        used = _used(pid)
        looks = [*looks, used] if used == looks[0] else [used]
    free = (number for number in count() if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(islice(free, more, None)), hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def _used(pid: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}


def is_greeted(client: socket.socket) -> bool:
    """Whether the server greets a client, or has done so; else it turned the client away for want of a descriptor."""
    try:
        return client.recv(100, socket.MSG_PEEK).startswith(b"220")
    except ConnectionResetError:
        return False


@pytest.mark.parametrize(("content", "recipient"), [(SMALL, USER1), (LARGE, USER1), (LARGE, ELSEWHERE)])
def test_without_descriptors_a_message_is_refused_for_now(site: Site, content: str, recipient: str) -> None:
    with site.connect() as client:
        assert send(client, content, USER1)[0] == 250  # the start is over
        with descriptors(site.server.pid, 0):
            for _ in range(5):
                assert send(client, content, recipient) == (451, "4.3.0")
        assert send(client, content, recipient)[0] == 250


def test_connections_beyond_the_last_descriptor_are_turned_away_and_later_ones_served(site: Site) -> None:
    with ExitStack() as stack, site.connect() as client:
        with descriptors(site.server.pid, 3):
            crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", site.port), 30)) for _ in range(20)]
            for _ in range(3):
                assert client.noop()[0] == 250
            greeted = [each for each in select(crowd, [], [], 0)[0] if is_greeted(each)]
            assert len(greeted) <= 3
        assert len([each for each in crowd if is_greeted(each)]) >= 1
    with site.connect() as client:
        assert client.noop()[0] == 250


@SHORT_AND_LONG
@pytest.mark.timeout(900)
def test_a_mailbox_that_goes_and_comes_back_under_load_loses_nothing(site: Site, rounds: int) -> None:
    load = Load(site, USER1, USER1, USER2)
    lose_and_regain_a_mailbox(site, load, rounds)
    assert len(site.mailbox("user1")) >= len(load.acknowledged[USER1])


@pytest.mark.parametrize("rounds", [50, pytest.param(1000, marks=pytest.mark.torture)])
@pytest.mark.timeout(900)
def test_a_storm_of_sighup_disturbs_nobody_and_leaks_nothing(site: Site, rounds: int) -> None:
    hang_up(site)
    site.server.wait_for("reloaded")
    load = Load(site, USER1, USER2)
    load.wait_for_more(USER1)
    before = Held.by(site.server.pid)
    for number in range(rounds):
        hang_up(site)
        if number % 5 == 0:
            load.wait_for_more(USER2, 1)
    for recipient in (USER1, USER2):
        load.wait_for_more(recipient)
    after = Held.by(site.server.pid)
    load.end()
    done = len(site.server.events("reloaded"))
    hang_up(site)
    site.server.wait_until(lambda: len(site.server.events("reloaded")) > done, "reload after the storm")
    print(f"{rounds} rounds: {before} -> {after}")
    assert load.refused == []
    assert len(site.mailbox("user1")) == len(load.acknowledged[USER1])
    assert after.descriptors <= before.descriptors + 4
    assert after.threads <= before.threads + 4
    assert after.memory <= before.memory + 8192
