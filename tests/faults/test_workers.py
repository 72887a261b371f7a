"""Trouble where two processes serve and a third has the queue: the right 4xx from each of them, recovery without a
restart, and nothing that leaks."""

from __future__ import annotations

import errno
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.faults.site import (
    ELSEWHERE,
    LARGE,
    LOG,
    SMALL,
    USER1,
    USER2,
    Held,
    Load,
    Site,
    build,
    hang_up,
    lose_and_regain_a_mailbox,
    play_troubles,
    send,
    started,
)
from tests.faults.test_load import descriptors
from tests.faults.test_storage import FAILED, FULL, UNWRITABLE

WORKERS = 2
pytestmark = [pytest.mark.requires("cc"), pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with started(directory, build(directory), WORKERS) as site:
        yield site
        assert not site.server.events("worker_ended")
        assert not site.server.events("worker_hung")


def processes(site: Site) -> dict[int, int]:
    """The session processes, by their numbers, and as number 0 the one that has the queue."""
    return {0: site.server.pid} | {each["worker"]: each["pid"] for each in site.server.events("worker_started")}


@pytest.fixture
def clients(site: Site) -> Iterator[dict[int, smtplib.SMTP]]:
    """A client of each session process."""
    found: dict[int, smtplib.SMTP] = {}
    with ExitStack() as stack:
        while len(found) < WORKERS:
            client = stack.enter_context(site.connect())
            found.setdefault(serving(site, client), client)
        yield found


def serving(site: Site, client: smtplib.SMTP) -> int:
    """Which process serves a client."""
    assert client.sock is not None
    peer = f'"127.0.0.1:{client.sock.getsockname()[1]}"'
    site.server.wait_for_output(peer)
    return int(next(event for event in site.server.events("connected") if peer[1:-1] in str(event["peer"]))["worker"])


def all_held(site: Site) -> dict[int, Held]:
    return {number: Held.by(pid) for number, pid in processes(site).items()}


def assert_no_more(before: dict[int, Held], after: dict[int, Held], rounds: int) -> None:
    """Nothing has leaked: descriptors, threads, memory."""
    for number, had in before.items():
        has = after[number]
        print(f"{rounds} rounds, process {number}: {had} -> {has}")
        assert has.descriptors <= had.descriptors + 4
        assert has.threads <= had.threads + 8  # pools fill as they are needed
        assert has.memory <= had.memory + 8192


@pytest.mark.parametrize(
    ("rule", "code", "reply", "recipients"),
    [
        ("open user1/tmp/", errno.ENOSPC, FULL, (USER2, USER1)),
        ("write user1/tmp/", errno.EIO, FAILED, (USER1,)),
        ("open user1/tmp/", errno.EROFS, UNWRITABLE, (USER1,)),
        ("sync user1/tmp/", errno.EIO, FAILED, (USER1, ELSEWHERE)),
        ("link user1/new/", errno.ENOSPC, FULL, (USER2, USER1)),
        ("sync user1/new", errno.EIO, FAILED, (USER1, ELSEWHERE)),
        (f"write {LOG}", errno.ENOSPC, FULL, (USER1, ELSEWHERE)),
        (f"write {LOG}", errno.EIO, FAILED, (ELSEWHERE,)),
        (f"sync {LOG}", errno.EIO, FAILED, (USER1, ELSEWHERE)),
    ],
)
def test_a_call_that_fails_is_told_alike_by_each_process_and_forgotten_when_it_works(
    site: Site, clients: dict[int, smtplib.SMTP], rule: str, code: int, reply: tuple[int, str], recipients: tuple[str]
) -> None:
    for client in clients.values():
        with site.failing(f"{rule} {code}"):
            for content in (SMALL, LARGE):
                assert send(client, content, *recipients) == reply
            assert site.mailbox("user1") == site.mailbox("user2") == []
            assert site.debris() == []
            assert send(client, SMALL, USER2)[0] == 250
        (path,) = (site.server.mailboxes / "user2" / "new").iterdir()
        path.unlink()
    for client in clients.values():
        assert send(client, SMALL, *recipients)[0] == 250


@pytest.mark.parametrize("without", [0, 1])
def test_a_process_without_descriptors_puts_off_what_it_cannot_do_and_no_other_does(
    site: Site, clients: dict[int, smtplib.SMTP], without: int
) -> None:
    owner = 0
    with descriptors(processes(site)[without], 0):
        for number, client in clients.items():
            for recipient, content, needs in (
                (USER1, SMALL, {number}),
                (USER1, LARGE, {number}),
                (ELSEWHERE, SMALL, set[int]()),  # goes over sockets, into a database, that are open
                (ELSEWHERE, LARGE, {number, owner}),
            ):
                expected = (451, "4.3.0") if without in needs else (250, "2.0.0")
                assert send(client, content, recipient) == expected
        assert send(clients[2], LARGE, USER1) == (250, "2.0.0")
    for client in clients.values():
        assert send(client, LARGE, USER1, ELSEWHERE)[0] == 250


@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.torture)])
def test_a_mailbox_that_goes_and_comes_back_loses_nothing(site: Site, rounds: int) -> None:
    load = Load(site, USER1, USER1, USER1, USER2)
    lose_and_regain_a_mailbox(site, load, rounds)


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.torture)])
def test_a_storm_of_sighup_disturbs_nobody_and_leaks_nothing(site: Site, rounds: int) -> None:
    load = Load(site, USER1, USER2, ELSEWHERE)
    for _ in range(5):
        hang_up(site)
        load.wait_for_more(USER1, 1)
    before = all_held(site)
    for number in range(rounds):
        hang_up(site)
        if number % 5 == 0:
            load.wait_for_more(USER2, 1)
    for recipient in (USER1, USER2, ELSEWHERE):
        load.wait_for_more(recipient)
    after = all_held(site)
    load.end()
    done = len(site.server.events("reloaded"))
    hang_up(site)
    site.server.wait_until(lambda: len(site.server.events("reloaded")) > done, "reload after the storm")
    assert load.refused == []
    assert len(site.mailbox("user1")) == len(load.acknowledged[USER1])
    assert_no_more(before, after, rounds)


@pytest.mark.parametrize("rounds", [6, pytest.param(1000, marks=pytest.mark.torture)])
def test_rounds_of_trouble_leak_nothing(site: Site, rounds: int) -> None:
    for _ in range(rounds // 2):  # what is made once, and what is kept for the next time
        play_troubles(site, SMALL, LARGE)
    before = all_held(site)
    for _ in range(rounds - rounds // 2):
        play_troubles(site, SMALL, LARGE)
    with site.connect() as client:  # whose end has been seen when the next is answered
        client.noop()
    assert_no_more(before, all_held(site), rounds)
