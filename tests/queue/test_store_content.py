"""What is swept out, and when."""

from __future__ import annotations

from mailagent.queue.store import Store
from mailagent.queue.store_content import ORPHANED
from tests.database.support import Database
from tests.queue.support import NOW, STORED, all_as, message

KEEP = 3600.0


def deliver(database: Database, store: Store, id_: str) -> None:
    database.write(store.insert, [message(id_, "a@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    database.write(store.settle, item, all_as(item, STORED), [], NOW, 0.0)


def test_history_is_kept_for_a_while(database: Database, store: Store) -> None:
    deliver(database, store, "m1")
    database.write(store.sweep, NOW + KEEP - 1, KEEP, 10)
    assert database.rows("SELECT count(*) FROM attempts") == [1]
    assert database.write(store.sweep, NOW + KEEP, KEEP, 10) == 1
    assert [database.rows(f"SELECT count(*) FROM {name}") for name in ("messages", "recipients", "attempts")] == [
        [0]
    ] * 3


def test_what_is_not_finished_is_never_swept(database: Database, store: Store) -> None:
    database.write(store.insert_chunk, "m1", 0, b"octets")
    database.write(store.insert_staged, [message("m1", "a@x.example")], 1, NOW)
    assert database.write(store.sweep, NOW + 1000 * KEEP, KEEP, 10) == 0
    assert database.read(store.read_piece, "m1", 0) == b"octets"


def test_content_without_an_envelope_is_swept_after_a_day(database: Database, store: Store) -> None:
    for id_ in ("old", "new"):
        database.write(store.insert_chunk, id_, 0, b"octets")
    database.execute("UPDATE staged SET created = created - ? WHERE message_id = 'old'", ORPHANED + 1)
    assert database.write(store.sweep, NOW, KEEP, 10) == 1
    assert database.rows("SELECT message_id FROM chunks") == ["new"]


def test_a_sweep_takes_no_more_than_its_limit(database: Database, store: Store) -> None:
    for id_ in ("m1", "m2", "m3"):
        deliver(database, store, id_)
    swept = [database.write(store.sweep, NOW + KEEP, KEEP, 2) for _ in range(3)]
    assert swept == [3, 1, 0]  # the destination with the first two


def test_a_destination_that_is_held_is_remembered(database: Database, store: Store) -> None:
    database.write(store.hold_destination, "x.example", NOW + 60, "down")
    assert database.write(store.sweep, NOW, KEEP, 10) == 0
    assert database.write(store.sweep, NOW + 60, KEEP, 10) == 1
