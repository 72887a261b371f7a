"""Power cuts at writes of the database's files under the real server with two session processes: what a client was told
C{250} for before the cut is in the queue that is left, whole."""

from __future__ import annotations

import os
import smtplib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random, SystemRandom

import pytest

from mailagent.database.reader import Reader
from mailagent.queue.queue import reading
from mailagent.queue.store import Store
from tests.crash.disk import Disk
from tests.crash.recording import DATABASE, MARKS, disks, entries, mark, recorded
from tests.crash.test_queue import unsynced
from tests.database.support import Database
from tests.maildir.support import run_now
from tests.peers.server import DEADLINE, TWISTD, Server, environment
from tests.queue.test_queue import joined

_CONFIGURATION = """
hostname = "mx.example"
workers = 2
whitelist = { hosts = ["hostmeister.de"], users = ["user1"] }
relay = { networks = ["127.0.0.0/8"], resolver = "127.0.0.1:1" }
queue = { retry_first = "1 h", retry_most = "1 h" }
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
"""
_LONG_AFTER = 30 * 86400


def body(number: int) -> bytes:
    """From some octets to more than the queue keeps in one piece."""
    return b"%s\r\nend %d\r\n" % (b"nothing torn\r\n" * (10, 25_000, 1000)[number % 3], number)


@contextmanager
def running(directory: Path) -> Iterator[Server]:
    (directory / "mailagent.toml").write_text(_CONFIGURATION)
    command = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
    server = Server(command, directory, environment(**recorded(directory)))
    try:
        server.wait_for_output('"worker_started"', 2)
        yield server
    finally:
        server.end()


def hand_in(directory: Path, port: int, messages: int) -> None:
    """Send so many from several sessions, and mark each reply as soon as it is there."""
    numbers = count()

    def work() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as client:
            while (number := next(numbers)) < messages:
                client.sendmail("ann@example.org", [f"m{number}@elsewhere.test"], b"Subject: x\r\n\r\n" + body(number))
                mark(directory, b"%d" % number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def found(directory: Path, disk: Disk, node: str) -> set[int]:
    """Start on what is left; the numbers of the messages that are there, which are whole."""
    directory.mkdir(exist_ok=True)
    disk.put(directory / "queue.db")
    with Database(directory) as database:
        unsynced(database)
        store = Store(node, "mx.example")
        database.write(store.start)
        reader, numbers = Reader(database.reading, run_now), set()
        while items := database.write(store.claim, time.time() + _LONG_AFTER, 100, {}, 100):
            for item in items:
                (recipient,) = item.recipients
                number = int(recipient.address.local[1:])
                content = joined(reading(reader, store, item.message))
                assert content.endswith(b"\n\n" + body(number).replace(b"\r\n", b"\n")), f"{number} is torn"
                numbers.add(number)
    return numbers


@pytest.mark.requires("cc")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("messages", "most"), [(36, 8), pytest.param(150, 400, marks=pytest.mark.torture)])
def test_what_a_client_was_told_is_there_after_a_power_cut(tmp_path: Path, messages: int, most: int) -> None:
    seed = int(os.environ.get("SEED") or SystemRandom().randrange(2**32))
    print(f"SEED={seed}")
    random = Random(seed)
    with running(tmp_path) as server:
        hand_in(tmp_path, server.port, messages)
    record = entries(tmp_path)
    marks = [number for number, entry in enumerate(record) if entry.name == MARKS]
    assert len(marks) == messages
    within = [number for number in range(marks[0], len(record)) if record[number].name == DATABASE]
    assert within, "no checkpoint"
    others = [number for number in range(marks[0], len(record)) if record[number].name != DATABASE]
    places = {place for among in (within, others) for place in random.sample(among, min(most, len(among)))}
    node = (tmp_path / "state" / "node").read_text().strip()
    examined = 0
    for place, disk in disks(record, places, random, torn=1):
        acknowledged = {int(record[number].octets) for number in marks if number <= place}
        assert acknowledged <= found(tmp_path / "found", disk, node)
        examined += 1
    print(f"{messages} messages, {len(record)} writes and syncs, {len(within)} in checkpoints; {examined} disks opened")
