"""LMTP: an outcome for each recipient."""

from __future__ import annotations

import errno

import pytest

from mailagent.interfaces import StorageFull
from mailagent.smtp.role import LMTP
from tests.memory_server import MemoryQueue, MemoryServer, codes, transaction


def served(queue: MemoryQueue | None = None) -> MemoryServer:
    return MemoryServer(role=LMTP, queue=queue)


def send(server: MemoryServer, *recipients: str) -> list[str]:
    connection = server.connect()
    connection.greet(b"LHLO client.example\r\n")
    return codes(connection.send(transaction(*recipients)))[len(recipients) + 2 :]


@pytest.mark.parametrize("bad", ["user1", "user2"])
def test_a_mailbox_that_fails_fails_alone(bad: str) -> None:
    server = served()
    server.files.fail(errno.EROFS, path=f"/mail/{bad}")
    outcomes = {"user1": "250 2.0.0", "user2": "250 2.0.0"} | {bad: "451 4.2.0"}
    assert send(server, "user1@hostmeister.de", "user2@hostmeister.de") == list(outcomes.values())
    server.files.heal()
    assert server.all_stored == 1
    assert server.files.descriptors == []


def test_a_large_message_is_read_for_each_and_then_let_go() -> None:
    server = served()
    connection = server.connect()
    connection.greet(b"LHLO client.example\r\n")
    envelope, _ = transaction("user1@hostmeister.de", "user2@hostmeister.de").split(b"Subject")
    connection.send(envelope)
    line = b"x" * 998 + b"\r\n"
    assert codes(connection.send(line * 1000 + b".\r\n")) == ["250 2.0.0"] * 2
    first, second = server.stored("user1")[0], server.stored("user2")[0]
    assert first.count(b"x" * 998 + b"\n") == second.count(b"x" * 998 + b"\n") == 1000
    assert server.files.descriptors == []


def test_what_leaves_is_queued_with_its_own_recipient_under_ids_of_one_kind() -> None:
    queue = MemoryQueue()
    assert send(served(queue), "user1@hostmeister.de", "abroad@example.org", "team@example.org") == ["250 2.0.0"] * 3
    first, second = [message.id for message, _ in queue.messages]
    assert (first[-2:], second) == ("-2", f"{first[:-2]}-3")


def test_a_queue_in_trouble_fails_those_alone_who_need_it() -> None:
    queue = MemoryQueue()
    queue.trouble = StorageFull()
    server = served(queue)
    assert send(server, "user1@hostmeister.de", "team@example.org") == ["250 2.0.0", "452 4.3.1"]
    assert server.all_stored == 1


def test_the_trace_says_lmtp() -> None:
    server = served()
    send(server, "user1@hostmeister.de")
    assert b" with LMTP id " in server.stored("user1")[0]
