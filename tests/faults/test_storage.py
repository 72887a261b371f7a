"""Storage that fails, call by call, under the real process: the right 4xx, nothing left behind, and no restart."""

from __future__ import annotations

import errno
import smtplib
import threading
from collections.abc import Iterator

import pytest

from mailagent.maildir.publishing import TOGETHER
from tests.faults.site import ELSEWHERE, LARGE, LOG, SMALL, USER1, USER2, Held, Site, play_troubles, send

FULL, FAILED, UNWRITABLE = (452, "4.3.1"), (451, "4.3.0"), (451, "4.2.0")

pytestmark = pytest.mark.requires("cc")


@pytest.fixture
def client(site: Site) -> Iterator[smtplib.SMTP]:
    with site.connect() as client:
        yield client


@pytest.mark.parametrize(
    ("call", "path", "code", "reply"),
    [
        ("open", "user1/tmp/", errno.ENOSPC, FULL),
        ("open", "user1/tmp/", errno.EMFILE, FAILED),
        ("open", "user1/tmp/", errno.EROFS, UNWRITABLE),
        ("write", "user1/tmp/", errno.ENOSPC, FULL),
        ("write", "user1/tmp/", errno.EIO, FAILED),
        ("sync", "user1/tmp/", errno.EIO, FAILED),
        ("sync", "user1/tmp/", errno.ENOSPC, FULL),
        ("link", "user1/new/", errno.ENOSPC, FULL),
        ("link", "user1/new/", errno.EIO, FAILED),
        ("sync", "user1/new", errno.EIO, FAILED),
    ],
)
def test_a_call_that_fails_in_one_mailbox_fails_the_message_and_no_other(
    site: Site, client: smtplib.SMTP, call: str, path: str, code: int, reply: tuple[int, str]
) -> None:
    with site.failing(f"{call} {path} {code}"):
        for content in (SMALL, LARGE):
            assert send(client, content, USER2, USER1) == reply
        assert site.mailbox("user1") == site.mailbox("user2") == []
        assert site.debris() == []
        assert send(client, SMALL, USER2)[0] == 250
    assert send(client, SMALL, USER1)[0] == 250
    assert len(site.mailbox("user1")) == 1


@pytest.mark.parametrize(("code", "reply"), [(errno.EIO, FAILED), (errno.ENOSPC, FULL)])
def test_a_file_system_that_fails_when_it_is_synced_fails_all_that_is_for_it(
    site: Site, client: smtplib.SMTP, code: int, reply: tuple[int, str]
) -> None:
    detailed = [f"user1+{number}@hostmeister.de" for number in range(TOGETHER)]
    with site.failing(f"sync /tmp/ {code}"):
        assert send(client, SMALL, USER2, *detailed) == reply
        assert site.mailbox("user1") == site.mailbox("user2") == []
        assert site.debris() == []
    assert send(client, SMALL, USER2, *detailed)[0] == 250
    assert len(site.mailbox("user1")) == TOGETHER


@pytest.mark.parametrize(
    ("call", "code", "reply"),
    [
        ("write", errno.ENOSPC, FULL),
        ("write", errno.EIO, FAILED),
        ("sync", errno.EIO, FAILED),
    ],
)
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_database_that_fails_fails_what_is_to_be_queued_and_no_other(
    site: Site, client: smtplib.SMTP, call: str, code: int, reply: tuple[int, str], content: str
) -> None:
    with site.failing(f"{call} {LOG} {code}"):
        assert send(client, content, USER1, ELSEWHERE) == reply
        assert site.mailbox("user1") == []
        assert send(client, content, USER1)[0] == 250
    assert send(client, content, USER1, ELSEWHERE)[0] == 250
    assert len(site.mailbox("user1")) == 2


@pytest.mark.parametrize(("path", "recipient"), [("user1/tmp/", USER1), (LOG, ELSEWHERE)])
def test_a_disk_that_hangs_keeps_its_message_waiting_and_nobody_else(
    site: Site, client: smtplib.SMTP, path: str, recipient: str
) -> None:
    replies: list[tuple[int, str]] = []

    def send_one() -> None:
        with site.connect() as another:
            replies.append(send(another, SMALL, recipient))

    senders = [threading.Thread(target=send_one, daemon=True) for _ in range(6)]
    with site.failing(f"sync {path} 0"):
        for sender in senders:
            sender.start()
            assert [send(client, content, USER2)[0] for content in (SMALL, LARGE)] == [250] * 2
            assert replies == []
    for sender in senders:
        sender.join(30)
    assert replies == [(250, "2.0.0")] * len(senders)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_mail_that_waits_for_a_database_that_hangs_leaves_threads_to_local_mail(
    site: Site, client: smtplib.SMTP, content: str
) -> None:
    replies: list[tuple[int, str]] = []

    def send_both() -> None:
        with site.connect() as another:
            replies.append(send(another, SMALL, USER1, ELSEWHERE))

    senders = [threading.Thread(target=send_both, daemon=True) for _ in range(12)]
    with site.failing(f"sync {LOG} 0"):
        for sender in senders:
            sender.start()
        while len(site.mailbox("user1")) < 4:  # which wait for the database
            client.noop()
        assert send(client, content, USER2)[0] == 250
        assert replies == []
    for sender in senders:
        sender.join(30)
    assert replies == [(250, "2.0.0")] * len(senders)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [50, pytest.param(1000, marks=pytest.mark.torture)])
def test_rounds_of_trouble_leak_nothing(site: Site, rounds: int) -> None:
    for _ in range(10):
        play_troubles(site, SMALL)
    before = Held.by(site.server.pid)
    for _ in range(rounds):
        play_troubles(site, SMALL)
    with site.connect() as client:  # whose end has been seen when the next is answered
        client.noop()
    after = Held.by(site.server.pid)
    print(f"{rounds} rounds: {before} -> {after}")
    assert after.descriptors <= before.descriptors + 2
    assert after.threads <= before.threads + 4
    assert after.memory <= before.memory + 6144
