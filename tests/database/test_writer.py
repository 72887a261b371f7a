"""The one thread that writes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailagent.database.engine import database_url, for_writing
from mailagent.database.transaction import TRIES
from mailagent.database.trouble import Conflict, TooSlow
from mailagent.database.writer import BATCH, Batched, Last, Writer
from mailagent.interfaces import StorageFailed, StorageFull
from tests.database.kinds import only_postgresql
from tests.database.support import Caller, Database

#: Seconds after which a thread that does not come is a failure.
PATIENCE = 60.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = for_writing(database_url("sqlite:///jobs.db", str(tmp_path)), busy=0.0)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE done (name TEXT PRIMARY KEY)")
    yield engine
    engine.dispose()


@pytest.fixture
def writer(engine: sa.Engine) -> Iterator[Writer]:
    writer = Writer(engine, Caller())
    writer.start()
    yield writer
    writer.stop()


@pytest.fixture
def commits(engine: sa.Engine) -> list[str]:
    """One entry for each commit from now on."""
    seen: list[str] = []
    event.listen(engine, "commit", lambda connection: seen.append("commit"))
    return seen


def note(name: str) -> Callable[[sa.Connection], str]:
    """A job that leaves its name in the table."""

    def job(connection: sa.Connection) -> str:
        connection.exec_driver_sql("INSERT INTO done VALUES (?)", (name,))
        return name

    return job


def noted(engine: sa.Engine) -> list[str]:
    with engine.begin() as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT name FROM done ORDER BY name")]


class Held:
    """Holds the writer's thread inside a job, until it is let go."""

    def __init__(self, writer: Writer) -> None:
        self._entered, self._let_go = Event(), Event()
        self.done = writer.run(self._job)
        assert self._entered.wait(PATIENCE)

    def _job(self, connection: sa.Connection) -> None:
        self._entered.set()
        assert self._let_go.wait(PATIENCE)

    def let_go(self) -> None:
        self._let_go.set()


def results(writer: Writer, *deferreds: Deferred[Any]) -> list[object]:
    """What each has come to, result or exception, once the writer has done all it had."""
    writer.stop()
    got: list[object] = []
    for deferred in deferreds:
        deferred.addErrback(lambda failure: failure.value).addCallback(got.append)
    return got


def test_a_job_is_committed_when_its_result_is_known(writer: Writer, engine: sa.Engine) -> None:
    assert writer.call(note("one")) == "one"
    assert noted(engine) == ["one"]


def test_what_waits_shares_one_commit(writer: Writer, engine: sa.Engine, commits: list[str]) -> None:
    held = Held(writer)
    waiting = [writer.run(note(name)) for name in "abcde"]
    held.let_go()
    assert results(writer, held.done, *waiting) == [None, *"abcde"]
    assert len(commits) == 2
    assert noted(engine) == list("abcde")


def note_all(connection: sa.Connection, names: Sequence[str]) -> list[str]:
    """Leaves all names in the table, and tells with how many each was."""
    connection.exec_driver_sql("INSERT INTO done VALUES (?)", [(name,) for name in names])
    return [f"{name} of {len(names)}" for name in names]


def test_jobs_of_one_kind_that_wait_are_done_as_one(writer: Writer, engine: sa.Engine) -> None:
    held = Held(writer)
    waiting = [writer.run(job) for job in (Batched(note_all, "a"), note("x"), Batched(note_all, "b"))]
    held.let_go()
    assert results(writer, *waiting) == ["a of 2", "x", "b of 2"]
    assert noted(engine) == ["a", "b", "x"]


def test_no_more_of_one_kind_are_done_as_one_than_a_statement_takes(writer: Writer) -> None:
    held = Held(writer)
    waiting = [writer.run(Batched(note_all, f"{number:03}")) for number in range(BATCH + 1)]
    held.let_go()
    assert results(writer, waiting[0], waiting[-1]) == [f"000 of {BATCH}", f"{BATCH} of 1"]


def test_one_of_a_kind_that_fails_fails_alone(writer: Writer, engine: sa.Engine) -> None:
    held = Held(writer)
    waiting = [writer.run(Batched(note_all, name)) for name in "aab"]
    held.let_go()
    first, second, third = results(writer, *waiting)
    assert (first, third) == ("a of 1", "b of 1")
    assert isinstance(second, StorageFailed)
    assert noted(engine) == ["a", "b"]


def test_what_is_wanted_in_one_turn_of_the_reactor_shares_one_commit(engine: sa.Engine, commits: list[str]) -> None:
    class Turn(Caller):
        def __init__(self) -> None:
            self.calls: list[Callable[..., object]] = []

        def callLater(self, seconds: float, function: Callable[..., object], *args: object) -> None:
            self.calls.append(function)

    reactor = Turn()
    writer = Writer(engine, reactor)
    writer.start()
    waiting = [writer.run(note(name)) for name in "abc"]
    [end_of_turn] = reactor.calls
    end_of_turn()
    at_a_stop = writer.run(note("d"))
    assert results(writer, *waiting, at_a_stop) == ["a", "b", "c", "d"]
    assert len(commits) <= 2
    late = writer.run(note("e"))
    reactor.calls[-1]()
    assert isinstance(results(writer, late)[0], StorageFailed)


def test_the_reactor_is_woken_once_for_all_results_of_a_commit(engine: sa.Engine) -> None:
    class Counting(Caller):
        calls = 0

        def callFromThread(self, function: Callable[..., object], *args: object) -> None:
            self.calls += 1
            super().callFromThread(function, *args)

    reactor = Counting()
    writer = Writer(engine, reactor)
    writer.start()
    held = Held(writer)
    waiting = [writer.run(note(name)) for name in "abc"]
    held.let_go()
    assert results(writer, *waiting) == ["a", "b", "c"]
    assert reactor.calls == 2


@pytest.mark.parametrize("fails", [note("a"), lambda connection: 1 / 0], ids=["in the database", "by itself"])
def test_a_job_that_fails_in_a_batch_fails_alone(writer: Writer, engine: sa.Engine, fails: Any) -> None:
    held = Held(writer)
    waiting = [writer.run(job) for job in (note("a"), note("b"), fails, note("c"))]
    held.let_go()
    _, a, b, failed, c = results(writer, held.done, *waiting)
    assert (a, b, c) == ("a", "b", "c")
    assert isinstance(failed, StorageFailed | ZeroDivisionError)
    assert noted(engine) == ["a", "b", "c"]


def test_nothing_stays_of_a_job_that_fails(writer: Writer, engine: sa.Engine) -> None:
    def job(connection: sa.Connection) -> None:
        note("half")(connection)
        raise LookupError("not this one")

    with pytest.raises(LookupError, match="not this one"):
        writer.call(job)
    assert noted(engine) == []
    assert writer.call(note("next")) == "next"


def test_the_deferred_of_a_job_fires_in_the_reactors_thread(engine: sa.Engine) -> None:
    class Later(Caller):
        def __init__(self) -> None:
            self.calls: list[tuple[Any, ...]] = []

        def callFromThread(self, function: Callable[..., object], *args: object) -> None:
            self.calls.append((function, *args))

    reactor = Later()
    writer = Writer(engine, reactor)
    writer.start()
    done = writer.run(note("one"))
    writer.stop()
    assert not done.called
    [(function, *args)] = reactor.calls
    function(*args)
    assert SynchronousTestCase().successResultOf(done) == "one"


def test_a_job_given_up_by_its_caller_is_done_all_the_same(writer: Writer, engine: sa.Engine) -> None:
    held = Held(writer)
    done = writer.run(note("one"))
    done.addErrback(lambda failure: None)
    done.cancel()
    held.let_go()
    writer.stop()
    assert noted(engine) == ["one"]


def test_what_waits_at_a_stop_is_done(writer: Writer, engine: sa.Engine) -> None:
    held = Held(writer)
    waiting = [writer.run(note(name)) for name in "ab"]
    held.let_go()
    writer.stop()
    assert [deferred.called for deferred in waiting] == [True, True]
    assert noted(engine) == ["a", "b"]


def test_after_a_stop_jobs_fail(writer: Writer) -> None:
    writer.stop()
    with pytest.raises(StorageFailed, match="stopped"):
        writer.call(note("late"))


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_that_keeps_the_database_too_long_is_trouble_that_passes(
    writer: Writer, engine: sa.Engine
) -> None:
    command = [sys.executable, "-c", HOLD, str(engine.url.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StorageFailed, match="locked"):
            writer.call(note("early"))
        other.communicate(timeout=PATIENCE)
    assert writer.call(note("late")) == "late"
    assert noted(engine) == ["late"]


def test_a_batch_does_not_wait_for_a_held_database_job_by_job(writer: Writer, engine: sa.Engine) -> None:
    held = Held(writer)
    begun: list[sa.Connection] = []

    @event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        begun.append(connection)
        raise sa.exc.OperationalError("BEGIN", {}, Exception("database is locked"))

    waiting = [writer.run(note(name)) for name in "abc"]
    held.let_go()
    assert [type(each) for each in results(writer, *waiting)] == [StorageFailed] * 3
    assert len(begun) == 1


def test_jobs_are_not_tried_one_by_one_where_none_can_begin(writer: Writer, engine: sa.Engine) -> None:
    held = Held(writer)
    begun: list[sa.Connection] = []

    @event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        begun.append(connection)
        if len(begun) > 1:
            raise sa.exc.OperationalError("BEGIN", {}, Exception("gone"))

    waiting = [writer.run(job) for job in (lambda connection: 1 / 0, note("b"), note("c"))]
    held.let_go()
    assert [type(each) for each in results(writer, *waiting)] == [StorageFailed] * 3
    assert len(begun) == 2  # all of them together, then the first alone


def test_a_full_database_is_told_as_such(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        pages = database.rows("PRAGMA page_count")[0]

        @event.listens_for(database.engine, "begin")
        def _(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        writer = Writer(database.engine, Caller())
        writer.start()
        row = "INSERT INTO chunks (message_id, number, octets) VALUES ('m', 0, zeroblob(1000000))"
        with pytest.raises(StorageFull, match="full"):
            writer.call(lambda connection: connection.exec_driver_sql(row))
        writer.stop()
        assert database.rows("SELECT count(*) FROM chunks") == [0]


def test_a_connection_that_cannot_be_given_back_ends_no_thread(
    engine: sa.Engine, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = sa.Connection.close
    failures = [OSError("no more")]

    def closing(connection: sa.Connection) -> None:
        close(connection)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(sa.Connection, "close", closing)
    first = writer.run(note("a"))
    assert writer.call(note("c")) == "c"
    assert results(writer, first, writer.run(note("b"))) == ["a", "b"]
    assert noted(engine) == ["a", "b", "c"]


def test_jobs_that_come_last_do_so_whatever_their_place_was(writer: Writer) -> None:
    held, order = Held(writer), list[str]()
    for job in (Last(lambda _: order.append("last")), lambda _: order.append("a"), lambda _: order.append("b")):
        writer.run(job)
    held.let_go()
    writer.stop()
    assert order == ["a", "b", "last"]


@only_postgresql
@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_what_another_transaction_undid_is_done_again(database: Database, code: str) -> None:
    writer, tries = Writer(database.engine, Caller()), Counter[str]()
    writer.start()

    def undone(connection: sa.Connection, at: int) -> int:
        tries["undone"] += 1
        connection.exec_driver_sql("INSERT INTO staged VALUES ('m', 0)")
        if tries["undone"] < at:
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")
        return tries["undone"]

    assert writer.call(lambda connection: undone(connection, 3)) == 3
    assert database.rows("SELECT count(*) FROM staged") == [1]
    database.execute("DELETE FROM staged")
    with pytest.raises(Conflict):
        writer.call(lambda connection: undone(connection, 99))
    assert tries["undone"] < 20
    assert database.rows("SELECT count(*) FROM staged") == [0]
    writer.stop()


@only_postgresql
@pytest.mark.parametrize(("code", "error", "tries"), [("40001", Conflict, TRIES), ("57014", TooSlow, 1)])
def test_what_is_no_jobs_own_fault_fails_all_and_none_is_run_alone(
    database: Database, code: str, error: type[Exception], tries: int
) -> None:
    writer, runs = Writer(database.engine, Caller()), Counter[str]()
    writer.start()
    held = Held(writer)

    def job(name: str, connection: sa.Connection) -> None:
        runs[name] += 1
        if name == "b":
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")

    waiting = [writer.run(partial(job, name)) for name in "abc"]
    held.let_go()
    assert [type(each) for each in results(writer, *waiting)] == [error] * 3
    assert runs == {"a": tries, "b": tries}
