"""A queue on its way to another database, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from mailagent.database.engine import for_writing
from mailagent.queue import moving
from mailagent.queue.moving import Moved, MoveRefused, abandon, move
from mailagent.queue.store import Store
from tests.database.kinds import MakeDatabase, only_postgresql, only_sqlite
from tests.database.support import Database
from tests.queue.support import NOW, STORED, all_as, deferred, message, names

DAY = 86400.0
#: Of what waits, everything but the numbers that a database gives.
WHAT = """
SELECT m.id, m.body, m.chunks, r.address, r.state, r.attempts, r.due, r.lease_node, r.lease_token, a.code
FROM messages m JOIN recipients r ON r.message_id = m.id LEFT JOIN attempts a ON a.recipient_id = r.id ORDER BY 1, 4
"""


class Killed(BaseException):
    """There is no more of the process."""


def nobody(busy: int) -> None:
    pytest.fail(f"{busy} are waited for")


class Site:
    """Two databases, each with a node at work."""

    def __init__(self, make: MakeDatabase, sqlite: Database) -> None:
        self.here, self.there = sqlite, make()
        self.ours, self.theirs = Store("ours"), Store("theirs")
        self.here.write(self.ours.start)
        self.there.write(self.theirs.start)

    def move(
        self, wait: Callable[[int], None] = nobody, *, back: bool = False, to: sa.Engine | None = None, name: str = ""
    ) -> Moved:
        """Here to there, or C{to} another, called C{name}; or back."""
        one, other = (self.there, self.here) if back else (self.here, self.there)
        return move(one.engine, one.reading, to or other.engine, name or ("here" if back else "there"), wait)

    def break_off(self) -> None:
        """Begin a move that ends ahead of the first message that would be written."""

        def end() -> None:
            raise Killed

        with pytest.raises(Killed), ahead_of_each_message(self, end):
            self.move()

    def fill(self) -> None:
        """Small, large, tried, ended in part, ended, held, and new."""
        put = self.here.write
        for number in range(3):
            put(self.ours.insert, [message(f"old{number}", "a@x.example", "b@y.example")], b"old", NOW - DAY)
        for item in put(self.ours.claim, NOW - DAY, 99, window=99):
            ended = item.destination == "x.example" or item.message.id == "old0"
            put(self.ours.settle, item, all_as(item, STORED) if ended else deferred(item, NOW), [], NOW, 0.0)
        for number, octets in enumerate((b"large", b"content")):
            put(self.ours.insert_chunk, "large", number, octets)
        put(self.ours.insert_staged, [message("large", "a@x.example")], 2, NOW)
        put(self.ours.insert, [message("held", "a@z.example")], b"", NOW)
        self.here.execute("UPDATE recipients SET state = 'held' WHERE message_id = 'held'")

    def empty(self) -> None:
        for database in (self.here, self.there):
            for table in ("chunks", "messages", "destinations"):
                database.execute(f"DELETE FROM {table}")


@pytest.fixture
def site(make_database: MakeDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Database(tmp_path_factory.mktemp("source")) as sqlite:
        yield Site(make_database, sqlite)


def test_all_goes_there_and_back_as_it_was(site: Site) -> None:
    site.fill()
    before = site.here.rows(WHAT)
    assert site.move() == Moved(5)
    assert site.there.rows(WHAT) == before
    assert site.here.rows("SELECT count(*) FROM messages") == site.here.rows("SELECT count(*) FROM chunks") == [0]
    assert [site.there.read(site.theirs.read_piece, "large", number) for number in range(3)] == [
        b"large",
        b"content",
        None,
    ]
    assert site.move(back=True) == Moved(5)
    assert site.here.rows(WHAT) == before


def test_what_was_moved_is_taken_in_hand_there_and_not_here(site: Site) -> None:
    site.fill()
    site.move()
    assert site.here.write(site.ours.claim, NOW, 99) == []
    found = names(site.there.write(site.theirs.claim, NOW, 99))
    assert sorted(found) == [("large", ["a@x.example"]), ("old1", ["b@y.example"]), ("old2", ["b@y.example"])]


def test_what_a_living_node_has_in_hand_is_waited_for(site: Site) -> None:
    site.here.write(site.ours.insert, [message("m1", "a@x.example"), message("m2", "b@y.example")], b"", NOW)
    [item] = site.here.write(site.ours.claim, NOW, 1, busy=["y.example"])
    waits: list[int] = []

    def wait(busy: int) -> None:
        waits.append(busy)
        assert site.there.rows("SELECT id FROM messages") == ["m2"]
        if len(waits) == 2:
            assert site.here.write(site.ours.settle, item, all_as(item, STORED), [], NOW, 0.0)

    assert site.move(wait) == Moved(2)
    assert waits == [1, 1]
    assert site.there.rows("SELECT message_id, state FROM recipients ORDER BY 1") == [
        ("m1", "delivered"),
        ("m2", "queued"),
    ]


def test_what_a_dead_node_had_in_hand_is_moved(site: Site) -> None:
    site.here.write(site.ours.insert, [message("m1", "a@x.example")], b"", NOW)
    [item] = site.here.write(site.ours.claim, NOW, 1)
    site.here.execute("UPDATE nodes SET heartbeat = 0")
    assert site.move() == Moved(1)
    assert not site.here.write(site.ours.settle, item, all_as(item, STORED), [], NOW, 0.0)
    assert len(site.there.write(site.theirs.claim, NOW, 1)) == 1


def test_the_server_at_the_source_can_write_while_the_target_is_written(site: Site) -> None:
    site.here.write(site.ours.insert, [message("m1", "a@x.example")], b"", NOW)
    server = for_writing(site.here.url, busy=0.0)

    def meanwhile() -> None:
        if not site.here.rows("SELECT id FROM messages WHERE id = 'm0'"):
            with server.begin() as connection:
                site.ours.insert(connection, [message("m0", "a@x.example")], b"", NOW)

    with ahead_of_each_message(site, meanwhile):
        assert site.move() == Moved(1)
    server.dispose()
    assert site.here.rows("SELECT id FROM messages") == ["m0"]


def test_what_another_transaction_undid_is_written_again(site: Site) -> None:
    class Deadlock(Exception):
        sqlstate = "40P01"

    errors = [sa.exc.OperationalError("INSERT", {}, Deadlock())]

    def undone() -> None:
        if errors:
            raise errors.pop()

    site.here.write(site.ours.insert, [message("m1", "a@x.example")], b"", NOW)
    with ahead_of_each_message(site, undone):
        assert site.move() == Moved(1)
    assert site.there.rows("SELECT message_id FROM recipients") == ["m1"]


def test_no_more_octets_than_some_are_written_in_one_transaction(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        site.here.write(site.ours.insert, [message(f"m{number}", "a@x.example")], b"", NOW)
    [octets] = set(site.here.rows("SELECT size FROM messages"))
    monkeypatch.setattr(moving, "OCTETS", 2 * octets)
    there: list[Any] = []
    with ahead_of_each_message(site, lambda: there.extend(site.there.rows("SELECT count(*) FROM messages"))):
        assert site.move() == Moved(5)
    assert there == [0, 0, 2, 2, 4]


def test_a_message_that_is_swept_away_meanwhile_is_not_counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "OCTETS", 1)  # a transaction for each message
    for number in range(3):
        site.here.write(site.ours.insert, [message(f"m{number}", "a@x.example")], b"", NOW)
    with ahead_of_each_message(site, lambda: site.here.execute("DELETE FROM messages WHERE id = 'm2'")):
        assert site.move() == Moved(2)
    assert site.here.rows("SELECT id FROM messages") == []


@only_sqlite
def test_a_message_that_the_other_database_cannot_take_stays(site: Site) -> None:
    site.here.write(site.ours.insert, [message(f"m{number}", "a@x.example") for number in range(3)], b"", NOW)
    site.here.execute("UPDATE messages SET header = 7 WHERE id = 'm1'")
    assert site.move() == Moved(2, ["m1"])
    assert site.here.rows("SELECT message_id, state, lease_node FROM recipients") == [("m1", "queued", None)]
    assert site.here.rows("SELECT ready FROM destinations") == [NOW]


def test_no_other_move_from_or_to_either_database_begins_meanwhile(site: Site) -> None:
    site.here.write(site.ours.insert, [message("m1", "a@x.example"), message("m2", "b@y.example")], b"", NOW)
    [item] = site.here.write(site.ours.claim, NOW, 1, busy=["y.example"])

    def wait(busy: int) -> None:
        for back in (False, True):
            with pytest.raises(MoveRefused, match="another move"):
                site.move(back=back)
        assert site.here.write(site.ours.settle, item, all_as(item, STORED), [], NOW, 0.0)

    assert site.move(wait) == Moved(2)
    assert site.move(back=True) == Moved(2)


@only_sqlite
def test_a_database_is_not_moved_to_a_copy_of_it(site: Site) -> None:
    site.fill()
    copy = f"{site.here.url.database}-copy"
    with site.here.engine.connect() as connection:
        connection.connection.execute("VACUUM INTO ?", (copy,))
    other = for_writing(site.here.url.set(database=copy))
    with pytest.raises(MoveRefused, match="a copy"):
        site.move(to=other)
    other.dispose()
    assert site.here.rows("SELECT count(*) FROM messages") == [5]


@only_postgresql
def test_a_database_is_not_moved_to_itself(site: Site) -> None:
    site.there.write(site.theirs.insert, [message("m1", "a@x.example")], b"", NOW)
    other = for_writing(site.there.url.update_query_dict({"connect_timeout": "9"}))  # as if by another host's name
    with pytest.raises(MoveRefused, match="one database"):
        move(site.there.engine, site.there.reading, other, "there", nobody)
    other.dispose()
    assert site.there.rows("SELECT message_id, state FROM recipients") == [("m1", "queued")]


@only_postgresql
def test_what_another_has_written_to_the_target_meanwhile_waits_in_one_place_only(site: Site) -> None:
    site.here.write(site.ours.insert, [message("m1", "a@x.example")], b"", NOW)
    other = for_writing(site.there.url)

    written: list[str] = []

    def meanwhile() -> None:
        if not written:
            written.append("m1")
            with other.begin() as connection:
                site.theirs.insert(connection, [message("m1", "a@x.example")], b"", NOW)

    with ahead_of_each_message(site, meanwhile):
        assert site.move() == Moved(1)
    other.dispose()
    assert site.here.rows("SELECT message_id FROM recipients") == []
    assert site.there.rows("SELECT message_id FROM recipients") == ["m1"]


def test_an_unfinished_move_is_finished_before_another_begins(site: Site, make_database: MakeDatabase) -> None:
    site.fill()
    site.break_off()
    with pytest.raises(MoveRefused, match="on its way to there: finish that move, or --abandon"):
        site.move(to=another(make_database).engine, name="elsewhere")
    with pytest.raises(MoveRefused, match="on its way to there: finish that move, or --abandon"):
        site.move(back=True)
    site.move()
    assert site.move(back=True) == Moved(5)


def test_an_unfinished_move_is_not_taken_up_to_another_database_of_that_name(
    site: Site, make_database: MakeDatabase
) -> None:
    site.fill()
    site.break_off()
    stranger = another(make_database)
    with pytest.raises(MoveRefused, match="to there, which is another database"):
        site.move(to=stranger.engine)
    assert stranger.rows("SELECT id FROM messages") == []


def test_an_unfinished_move_is_taken_up_by_another_name_of_the_database(site: Site) -> None:
    site.fill()
    before = site.here.rows(WHAT)
    site.break_off()
    site.move(name="also there")
    assert site.there.rows(WHAT) == before


@pytest.mark.parametrize(("name", "accepted"), [("there", True), ("elsewhere", False)])
def test_an_unfinished_move_of_before_databases_had_tokens_goes_by_the_name(
    site: Site, name: str, accepted: bool
) -> None:
    site.fill()
    site.break_off()
    site.here.execute("UPDATE recipients SET lease_node = 'there' WHERE lease_node IS NOT NULL")
    with nullcontext() if accepted else pytest.raises(MoveRefused, match="on its way to there"):
        site.move(name=name)
    assert site.there.rows("SELECT count(*) FROM messages") == [5 if accepted else 0]


def test_what_is_on_its_way_waits_here_again_where_the_move_is_abandoned(site: Site) -> None:
    site.fill()
    before = site.here.rows(WHAT)
    site.break_off()
    assert abandon(site.here.engine) == (4, ["there"])
    assert site.here.rows(WHAT) == before
    assert abandon(site.here.engine) == (0, [])
    claimed = {item.message.id for item in site.here.write(site.ours.claim, NOW, 99)}
    assert claimed == {"large", "old1", "old2"}


def test_a_move_at_work_is_not_abandoned(site: Site) -> None:
    site.here.write(site.ours.insert, [message("m1", "a@x.example")], b"", NOW)

    def meanwhile() -> None:
        with pytest.raises(MoveRefused, match="at work"):
            abandon(site.here.engine)

    with ahead_of_each_message(site, meanwhile):
        assert site.move() == Moved(1)


def another(make: MakeDatabase) -> Database:
    """One that is none of the others, though they may all have begun as copies."""
    made = make()
    made.execute("UPDATE identity SET token = 'abc'")
    return made


@contextmanager
def ahead_of_each_message(site: Site, happens: Callable[[], None]) -> Iterator[None]:
    """Something happens while messages are written to the target, ahead of each."""

    def step(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO messages"):
            happens()

    event.listen(site.there.engine, "before_cursor_execute", step)
    try:
        yield
    finally:
        event.remove(site.there.engine, "before_cursor_execute", step)


@contextmanager
def killed(site: Site, at: int) -> Iterator[None]:
    """The process ends ahead of so many statements and commits of either database."""
    left = count(at, -1)

    def step(*_: Any) -> None:
        if next(left) <= 1:
            raise Killed

    heard = [(each.engine, name) for each in (site.here, site.there) for name in ("before_cursor_execute", "commit")]
    for engine, name in heard:
        event.listen(engine, name, step)
    try:
        yield
    finally:
        for engine, name in heard:
            event.remove(engine, name, step)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.torture)])
def test_a_move_that_is_cut_off_anywhere_loses_and_doubles_nothing(
    site: Site, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "BATCH", 3)
    before: list[Any] = []
    for at in count(1, step):
        site.empty()
        site.fill()
        before = before or site.here.rows(WHAT)
        try:
            with killed(site, at):
                site.move()
        except Killed:
            there = site.there.rows("SELECT id FROM messages")
            claimed = site.here.write(site.ours.claim, NOW, 99, window=99)
            assert {item.message.id for item in claimed}.isdisjoint(there)
            for item in claimed:
                site.here.write(site.ours.release, item)
            site.move()
            assert site.there.rows(WHAT) == before, at
            assert site.here.rows("SELECT count(*) FROM messages") == [0]
        else:
            break
    assert at > 40
