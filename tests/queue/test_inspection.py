"""Looking into the queue."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mailagent.database.schema import recipients
from mailagent.queue.inspection import NoSuchMessage, entries, raw, tell
from mailagent.queue.selection import Selection
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import HOP, LATER, NOW, deferred, message


def test_a_messages_history_is_told_with_each_attempt(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@a.example")], b"Subject: x\n\nhi\n", NOW)
    for attempt in range(2):
        (item,) = database.write(store.claim, NOW + attempt * 100, 1)
        database.write(store.settle, item, deferred(item, NOW + 100), [], NOW + attempt * 100, 1.5)
    with database.reading.begin() as connection:
        told = tell(connection, "m1")
    assert (told.created, told.sender, told.login) == (NOW, "ann@example.org", "ann")
    assert [(each.at, each.seconds, each.host, each.address, each.tls) for each in told.tries] == [
        (NOW, 1.5, HOP.host, HOP.address, HOP.tls),
        (NOW + 100, 1.5, HOP.host, HOP.address, HOP.tls),
    ]
    assert {each.reply for each in told.tries} == {str(LATER)}
    assert [(each.attempts, each.due, each.reply) for each in told.entries] == [(2, NOW + 100, str(LATER))]
    assert told.header == b"Received: here\nSubject: x\n"


def test_a_large_message_is_given_whole_from_its_pieces(database: Database, store: Store) -> None:
    for number, piece in enumerate([b"Subject: x\n", b"\nhi\n", b"there\n"]):
        database.write(store.insert_chunk, "m1", number, piece)
    database.write(store.insert_staged, [message("m1", "a@a.example")], 3, NOW)
    with database.reading.begin() as connection:
        assert b"".join(raw(connection, "m1")) == b"Received: here\nSubject: x\n\nhi\nthere\n"
        assert tell(connection, "m1").header == b"Received: here\nSubject: x\n"


def test_a_message_that_is_not_there_is_an_error(database: Database, store: Store) -> None:
    with database.reading.begin() as connection:
        with pytest.raises(NoSuchMessage):
            tell(connection, "m1")
        with pytest.raises(NoSuchMessage):
            list(raw(connection, "m1"))


def test_a_damaged_row_is_listed_all_the_same(database: Database, store: Store) -> None:
    database.write(store.insert, [message("m1", "a@a.example")], b"hi\n", NOW)
    broken = sa.update(recipients).values(address="no address", reply_code=99, due=0)
    database.write(lambda connection: connection.execute(broken))
    with database.reading.begin() as connection:
        (entry,) = entries(connection, Selection(), NOW)
    assert (entry.recipient, entry.reply) == ("no address", "99")
