"""A message's way through the store: in, claimed, settled, and out of it."""

from __future__ import annotations

import attrs
import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import StorageFailed
from mailagent.queue.items import DELIVERED, EXPIRED, FAILED, QUEUED, Settlement
from mailagent.queue.store import Store
from mailagent.queue.store_insert import Arrival
from mailagent.queue.store_settle import ItemSettlement
from tests.database.support import Database
from tests.queue.support import ANN, LATER, NEVER, NOW, STORED, all_as, deferred, message, names, outcome


def test_what_was_put_in_comes_out(database: Database, store: Store) -> None:
    bob = Address("b o\\b", "ünder.example")
    notify = {bob: Notify(frozenset({"SUCCESS", "DELAY"}), ("utf-8", "böb@old.example"))}
    envelope = Envelope(None, (bob,), 17, True, True, "HDRS", "QQ 1", True, notify)
    given = QueuedMessage("m1", envelope, b"Received: \xc3\xbc\n", ANN, "ann")
    database.write(store.insert, [given], b"body\n", NOW)
    [item] = database.write(store.claim, NOW, 10)
    assert item.envelope() == attrs.evolve(envelope, notify=notify)
    assert (item.message.header, item.message.report_to, item.message.login) == (given.header, ANN, "ann")
    assert (item.message.id, item.message.created, item.destination) == ("m1", NOW, "xn--nder-zra.example")
    assert database.read(store.read_piece, "m1", 0) == b"body\n"
    assert database.read(store.read_piece, "m1", 1) is None


def test_an_item_has_one_message_and_one_destination(database: Database, store: Store) -> None:
    both = [message("m1", "a@x.example", "b@y.example", "c@X.example"), message("m2", "a@x.example")]
    database.write(store.insert, both, b"", NOW)
    items = database.write(store.claim, NOW, 10)
    assert sorted(names(items)) == [
        ("m1", ["a@x.example", "c@X.example"]),
        ("m1", ["b@y.example"]),
        ("m2", ["a@x.example"]),
    ]


def test_what_is_leased_is_not_given_out_again(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    assert len(database.write(store.claim, NOW, 10)) == 1
    assert database.write(store.claim, NOW, 10) == []
    assert database.read(store.next_ready, NOW) is None


def test_what_is_not_due_waits(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    assert database.write(store.claim, NOW - 1, 10) == []
    assert database.read(store.next_ready, NOW) == NOW


def test_a_deferred_recipient_comes_again_when_it_is_due(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    assert database.write(store.settle, item, deferred(item, NOW + 300), [], NOW, 1.5)
    assert database.read(store.next_ready, NOW) == NOW + 300
    assert database.write(store.claim, NOW + 299, 10) == []
    [again] = database.write(store.claim, NOW + 300, 10)
    [recipient] = again.recipients
    assert (recipient.attempts, recipient.reply, recipient.host) == (1, LATER, "mx.there.example")


def test_an_attempt_is_history(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example", "b@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    database.write(store.settle, item, all_as(item, STORED), [], NOW + 1, 2.5)
    line = (NOW + 1, 2.5, "mx.there.example", "192.0.2.1", "TLS 1.3", 250, "2.0.0", "stored")
    assert database.rows("SELECT at, seconds, host, address, tls, code, status, text FROM attempts") == [line, line]
    assert database.rows("SELECT state, finished FROM recipients") == [("delivered", NOW + 3.5)] * 2


def test_each_recipient_has_its_own_outcome(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", *(f"{name}@x.example" for name in "abcd"))], b"body", NOW)
    [item] = database.write(store.claim, NOW, 10)
    came_to = [(STORED, DELIVERED), (NEVER, FAILED), (LATER, QUEUED), (LATER, EXPIRED)]
    settlements = [
        Settlement(each, outcome(each, reply), state, NOW + 60 if state == QUEUED else None)
        for each, (reply, state) in zip(item.recipients, came_to, strict=True)
    ]
    database.write(store.settle, item, settlements, [], NOW, 0.0)
    assert database.rows("SELECT state FROM recipients ORDER BY id") == [state for _, state in came_to]
    [again] = database.write(store.claim, NOW + 60, 10)
    assert names([again]) == [("m1", ["c@x.example"])]


def test_reports_are_queued_with_the_outcome_they_tell_of(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    reports = [(message("m2", "ann@example.org"), b"bounce"), (message("m3", "ann@example.org"), b"notice")]
    with database.engine.begin() as connection:
        assert store.settle(connection, item, all_as(item, NEVER, FAILED), reports, NOW, 0.0)
    found = database.write(store.claim, NOW, 10)
    assert [item.message.id for item in found] == ["m2", "m3"]
    assert [database.read(store.read_piece, id_, 0) for id_ in ("m2", "m3")] == [b"bounce", b"notice"]


def test_several_reports_are_queued_by_as_many_statements_as_one(database: Database, store: Store) -> None:
    for number in range(2):
        database.write(store.insert, [message(f"m{number}", "a@x.example")], b"", NOW)
    reports = [(message(f"r{number}", "ann@example.org"), b"bounce") for number in range(3)]
    counts = []
    for some in (reports[:1], reports[1:]):
        [item] = database.write(store.claim, NOW, 1, busy=["example.org"])
        with database.statements() as statements:
            assert database.write(store.settle, item, all_as(item, NEVER, FAILED), some, NOW, 0.0)
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert database.rows("SELECT count(*) FROM messages") == [2 + 3]


def test_where_the_lease_is_lost_nothing_is_written(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example", "b@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    database.execute("UPDATE recipients SET lease_token = 'other' WHERE address = 'b@x.example'")
    before = database.rows("SELECT * FROM recipients")
    report = (message("m2", "ann@example.org"), b"bounce")
    assert not database.read(store.still_leased, item)
    assert not database.write(store.settle, item, all_as(item, NEVER, FAILED), [report], NOW, 0.0)
    assert not database.write(store.release, item)
    assert database.rows("SELECT * FROM recipients") == before
    assert database.rows("SELECT id FROM messages") == ["m1"]
    assert database.rows("SELECT count(*) FROM attempts") == [0]


def test_a_lease_given_back_leaves_no_trace(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    assert database.read(store.still_leased, item)
    assert database.write(store.release, item)
    [again] = database.write(store.claim, NOW, 10)
    assert again.recipients == item.recipients
    assert again.token != item.token


def test_a_lease_given_back_may_be_due_later(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    database.write(store.release, item, NOW + 5)
    assert database.read(store.next_ready, NOW) == NOW + 5
    assert len(database.write(store.claim, NOW + 5, 10)) == 1


def test_content_goes_with_the_last_recipient_that_needs_it(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example", "a@y.example")], b"body", NOW)
    first, second = database.write(store.claim, NOW, 10)
    database.write(store.settle, first, all_as(first, STORED), [], NOW, 0.0)
    assert database.read(store.read_piece, "m1", 0) == b"body"
    database.write(store.settle, second, all_as(second, NEVER, FAILED), [], NOW, 0.0)
    assert database.read(store.read_piece, "m1", 0) is None


def test_content_stays_for_a_recipient_that_is_held(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example", "a@y.example")], b"body", NOW)
    database.execute("UPDATE recipients SET state = 'held' WHERE address = 'a@y.example'")
    [item] = database.write(store.claim, NOW, 1)
    database.write(store.settle, item, all_as(item, STORED), [], NOW, 0.0)
    assert database.read(store.read_piece, "m1", 0) == b"body"


def test_a_large_message_is_seen_only_with_its_envelope(database: Database, store: Store) -> None:
    for number, octets in enumerate([b"one", b"two"]):
        database.write(store.insert_chunk, "m1", number, octets)
    assert database.write(store.claim, NOW, 10) == []
    database.write(store.insert_staged, [message("m1", "a@x.example")], 2, NOW)
    [item] = database.write(store.claim, NOW, 10)
    assert item.message.chunks == 2
    assert [database.read(store.read_piece, "m1", number) for number in range(3)] == [b"one", b"two", None]


def test_chunks_that_were_swept_away_are_not_published(database: Database, store: Store) -> None:
    database.write(store.insert_chunk, "m1", 0, b"one")
    database.write(store.discard, ["m1"])
    with pytest.raises(StorageFailed, match="swept"):
        database.write(store.insert_staged, [message("m1", "a@x.example")], 1, NOW)
    assert database.rows("SELECT count(*) FROM messages") == [0]


def test_what_is_published_is_never_discarded(database: Database, store: Store) -> None:
    database.write(store.insert_chunk, "m1", 0, b"one")
    database.write(store.insert_staged, [message("m1", "a@x.example")], 1, NOW)
    database.write(store.discard, ["m1"])
    assert database.read(store.read_piece, "m1", 0) == b"one"


def test_several_items_are_settled_by_as_many_statements_as_one(database: Database, store: Store) -> None:
    for number in range(4):
        database.write(store.insert, [message(f"m{number}", "a@x.example")], b"", NOW)
    items = database.write(store.claim, NOW, 10, window=10)
    settled = [ItemSettlement(item, all_as(item, STORED), [], NOW, 0.0) for item in items]
    with database.statements() as one:
        assert database.write(store.settle_many, settled[:1]) == [True]
    with database.statements() as three:
        assert database.write(store.settle_many, settled[1:]) == [True] * 3
    assert len(three) == len(one)
    assert database.rows("SELECT state FROM recipients") == ["delivered"] * 4
    assert database.rows("SELECT count(*) FROM messages WHERE finished IS NULL") == [0]


def test_one_item_whose_lease_is_lost_keeps_no_other_from_being_settled(database: Database, store: Store) -> None:
    for number in range(3):
        database.write(store.insert, [message(f"m{number}", "a@x.example")], b"", NOW)
    items = database.write(store.claim, NOW, 10, window=10)
    database.execute("UPDATE recipients SET lease_token = 'other' WHERE message_id = 'm1'")
    settled = [ItemSettlement(item, all_as(item, STORED), [], NOW, 0.0) for item in items]
    assert database.write(store.settle_many, settled) == [True, False, True]
    assert database.rows("SELECT state FROM recipients ORDER BY id") == ["delivered", "queued", "delivered"]


def test_an_item_is_settled_once(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@x.example")], b"", NOW)
    [item] = database.write(store.claim, NOW, 10)
    settled = ItemSettlement(item, all_as(item, STORED), [], NOW, 0.0)
    assert database.write(store.settle_many, [settled, settled]) == [True, False]
    assert database.rows("SELECT count(*) FROM attempts") == [1]


def test_several_contents_are_inserted_by_as_many_statements_as_one(database: Database, store: Store) -> None:
    arrivals = [Arrival([message(f"m{number}", "a@x.example")], b"%d" % number, NOW - number) for number in range(4)]
    with database.statements() as one:
        database.write(store.insert_many, arrivals[:1])
    with database.statements() as three:
        database.write(store.insert_many, arrivals[1:])
    assert len(three) == len(one)
    assert database.rows("SELECT id, body, created FROM messages ORDER BY id") == [
        (f"m{number}", b"%d" % number, NOW - number) for number in range(4)
    ]
    assert database.rows("SELECT ready FROM destinations") == [NOW - 3]
