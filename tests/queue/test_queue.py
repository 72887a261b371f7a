"""The way into the queue, and the content's way out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailagent.database.reader import Reader
from mailagent.interfaces import IQueue, StorageFailed, StorageFull
from mailagent.queue.queue import ContentLost, Queue, reading, rechunked
from mailagent.queue.store import Store
from mailagent.queue.store_insert import CHUNK
from tests.database.kinds import only_sqlite
from tests.database.support import Caller, Database
from tests.maildir.support import run_now
from tests.queue.support import NOW, message

LARGE = [b"a" * (CHUNK - 1), b"b" * (CHUNK + 2), b"c"]


@pytest.fixture
def woken() -> list[str]:
    """One entry for each time the queue said that there is something new."""
    return []


@pytest.fixture
def queue(database: Database, store: Store, woken: list[str]) -> Queue:
    return Queue(database.writer, store, lambda: NOW, Caller(), lambda: woken.append("woken"))


def test_small_content_is_taken_without_a_thread(
    queue: Queue, database: Database, store: Store, woken: list[str]
) -> None:
    own = attrs.evolve(message("m2", "a@x.example"), body=b"its own\n")
    enqueued = queue.enqueue_small([message("m1", "a@x.example"), own], b"body\n")
    assert SynchronousTestCase().successResultOf(enqueued) is None
    assert woken == ["woken"]
    assert database.rows("SELECT id, body FROM messages ORDER BY id") == [("m1", b"body\n"), ("m2", b"its own\n")]


def test_what_keeps_small_content_out_is_told(queue: Queue, database: Database, woken: list[str]) -> None:
    database.execute("ALTER TABLE recipients RENAME TO gone")
    SynchronousTestCase().failureResultOf(queue.enqueue_small([message("m1", "a@x.example")], b"body\n"), StorageFailed)
    assert not woken


def read_all(database: Database, store: Store, id_: str) -> bytes:
    """A claimed message, header and content, as an attempt reads it."""
    found = {item.message.id: item.message for item in database.write(store.claim, NOW, 10)}
    return joined(reading(Reader(database.reading, run_now), store, found[id_]))


def joined(content: Callable[[], AsyncIterator[bytes]]) -> bytes:
    results: list[bytes | Failure] = []

    async def join() -> bytes:
        return b"".join([piece async for piece in content()])

    Deferred.fromCoroutine(join()).addBoth(results.append)
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    assert isinstance(result, bytes)
    return result


def test_it_keeps_its_contract(queue: Queue) -> None:
    assert verifyObject(IQueue, queue)


@pytest.mark.parametrize("content", [[], [b""], [b"small\n"], LARGE, [b"x" * CHUNK], [b"x" * CHUNK, b"y" * CHUNK]])
def test_content_comes_out_as_it_went_in(database: Database, store: Store, queue: Queue, content: list[bytes]) -> None:
    queue.enqueue([message("m1", "a@x.example")], lambda: iter(content))
    assert read_all(database, store, "m1") == b"Received: here\n" + b"".join(content)


def test_content_can_be_read_again(database: Database, store: Store, queue: Queue) -> None:
    queue.enqueue([message("m1", "a@x.example")], lambda: iter(LARGE))
    [item] = database.write(store.claim, NOW, 10)
    content = reading(Reader(database.reading, run_now), store, item.message)
    assert joined(content) == joined(content)


def test_messages_of_one_call_share_content_and_commit(database: Database, store: Store, queue: Queue) -> None:
    queue.enqueue([message("m1", "a@x.example"), message("m2", "b@y.example")], lambda: iter(LARGE))
    found = {item.message.id: item.message for item in database.write(store.claim, NOW, 10)}
    reader = Reader(database.reading, run_now)
    assert {joined(reading(reader, store, each)) for each in found.values()} == {b"Received: here\n" + b"".join(LARGE)}


@pytest.mark.parametrize("content", [[b"shared\n"], LARGE])
def test_a_message_with_content_of_its_own_is_committed_with_the_others(
    database: Database, store: Store, queue: Queue, content: list[bytes]
) -> None:
    notice = attrs.evolve(message("m2", "b@x.example"), body=b"own\n")
    queue.enqueue([message("m1", "a@x.example"), notice], lambda: iter(content))
    items = {item.message.id: item.message for item in database.write(store.claim, NOW, 10)}
    reader = Reader(database.reading, run_now)
    for id_, octets in (("m1", b"".join(content)), ("m2", b"own\n")):
        assert joined(reading(reader, store, items[id_])) == b"Received: here\n" + octets


def test_a_message_of_a_taken_id_keeps_its_companions_out(database: Database, store: Store, queue: Queue) -> None:
    queue.enqueue([message("m1", "a@x.example")], lambda: iter([b"first"]))
    notice = attrs.evolve(message("m1", "b@x.example"), body=b"own\n")
    with pytest.raises(StorageFailed):
        queue.enqueue([message("m2", "a@x.example"), notice], lambda: iter([b"second"]))
    assert {item.message.id for item in database.write(store.claim, NOW, 10)} == {"m1"}


def test_small_content_costs_one_transaction(database: Database, queue: Queue) -> None:
    before = database.writer.jobs
    queue.enqueue([message("m1", "a@x.example"), message("m2", "b@y.example")], lambda: iter([b"x" * CHUNK]))
    assert database.writer.jobs == before + 1


def test_large_content_is_durable_before_its_envelope(database: Database, queue: Queue) -> None:
    """Each piece is a transaction of its own; nothing is to be seen of the message before the last."""
    seen: list[tuple[int, int]] = []

    @event.listens_for(database.engine, "commit")
    def _(connection: sa.Connection) -> None:
        [counts] = connection.exec_driver_sql("SELECT (SELECT count(*) FROM chunks), (SELECT count(*) FROM recipients)")
        seen.append((counts[0], counts[1]))

    queue.enqueue([message("m1", "a@x.example")], lambda: iter(LARGE))
    assert seen == [(1, 0), (2, 0), (3, 0), (3, 1)]


def test_the_scheduler_is_woken_once_there_is_something(queue: Queue, woken: list[str]) -> None:
    queue.enqueue([message("m1", "a@x.example")], lambda: iter([b""]))
    assert woken == ["woken"]


def test_content_that_cannot_be_read_leaves_nothing(database: Database, queue: Queue, woken: list[str]) -> None:
    def breaking() -> Iterator[bytes]:
        yield from LARGE
        raise OSError("the disk is gone")

    with pytest.raises(StorageFailed, match="the disk is gone"):
        queue.enqueue([message("m1", "a@x.example")], breaking)
    assert [database.rows(f"SELECT count(*) FROM {name}") for name in ("chunks", "staged", "messages")] == [[0]] * 3
    assert woken == []


@only_sqlite
def test_a_full_database_takes_nothing(database: Database, queue: Queue) -> None:
    [pages] = database.rows("PRAGMA page_count")
    database.engine.dispose()

    def limited(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 80}")

    event.listen(database.engine, "begin", limited)
    with pytest.raises(StorageFull):
        queue.enqueue([message("m1", "a@x.example")], lambda: iter(LARGE))
    assert [database.rows(f"SELECT count(*) FROM {name}") for name in ("chunks", "staged", "messages")] == [[0]] * 3
    event.remove(database.engine, "begin", limited)
    database.execute("PRAGMA max_page_count = 1000000")
    queue.enqueue([message("m1", "a@x.example")], lambda: iter(LARGE))


def test_a_second_message_of_the_same_id_takes_nothing_away_from_the_first(
    database: Database, store: Store, queue: Queue
) -> None:
    queue.enqueue([message("m1", "a@x.example")], lambda: iter(LARGE))
    with pytest.raises(StorageFailed, match=r"(?i)unique"):
        queue.enqueue([message("m1", "a@x.example")], lambda: iter(LARGE))
    assert read_all(database, store, "m1").endswith(b"c")


@pytest.mark.parametrize(
    ("content", "harm"),
    [
        ([b"small"], "UPDATE messages SET body = NULL"),
        (LARGE, "DELETE FROM chunks WHERE number = 0"),
        (LARGE, "DELETE FROM chunks WHERE number = 2"),
    ],
)
def test_a_message_is_never_read_short(
    database: Database, store: Store, queue: Queue, content: list[bytes], harm: str
) -> None:
    queue.enqueue([message("m1", "a@x.example")], lambda: iter(content))
    database.execute(harm)
    with pytest.raises(ContentLost, match="m1"):
        read_all(database, store, "m1")


@given(st.lists(st.binary(max_size=9)), st.integers(1, 7))
def test_pieces_are_cut_anew_without_loss(content: list[bytes], size: int) -> None:
    pieces = list(rechunked(content, size))
    assert b"".join(pieces) == b"".join(content)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert b"" not in pieces
