"""One message for a mailbox here and for the queue: what was answered C{250} is in both, wherever the power goes.

It may be in one of them though nobody was told so; then the client sends it again. What is there is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import attrs
import pytest
from sqlalchemy import event
from twisted.python.failure import Failure

from mailagent.database.reader import Reader
from mailagent.envelope.copy import Copy
from mailagent.interfaces import StorageFailed
from mailagent.maildir.mailstore import Maildirs
from mailagent.maildir.memory import MemoryFiles, PowerCut, Survival
from mailagent.queue.queue import Queue, reading
from mailagent.queue.store import Store
from mailagent.queue.store_insert import CHUNK
from mailagent.reception.dispatch import Dispatch
from tests.crash.disk import Disk
from tests.crash.test_queue import claimed, unsynced
from tests.database.support import Caller, Database
from tests.maildir.support import ANN, memory_maildirs, run_now
from tests.queue.support import NOW, message
from tests.queue.test_queue import joined

HEADER = b"Delivered-To: ann@example.org\n"
SMALL, LARGE = b"small\n", b"0123456789abcde\n" * (CHUNK // 16 + 100)
CONTENTS = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])


@attrs.define
class Machine:
    """A server's storage: files in memory, a database on the disk.

    @ivar left: what there is of the database once the power has gone.
    """

    files: MemoryFiles
    database: Database
    left: Disk | None = None

    @property
    def file(self) -> Path:
        return Path(str(self.database.url.database))

    def take(self, content: bytes) -> BaseException | None:
        """Store a message; what that failed with. C{None} is the C{250}."""
        mailstore = Maildirs(self.files, run_now, "mx.example.org", lambda: NOW)
        queue = Queue(self.database.writer, Store("here"), lambda: NOW, Caller(), lambda: None)
        results: list[Failure | None] = []
        try:
            body = mailstore.stage(ANN)
            body.write(content)
            dispatch = Dispatch([Copy(ANN, HEADER)], [message("m1", "a@x.example", "b@y.example")])
            dispatch.commit("m1", mailstore, queue, body).addBoth(results.append)
        except PowerCut as cut:
            return cut
        [result] = results
        return result.value if isinstance(result, Failure) else None

    def go_off(self) -> None:
        """The power is gone: nothing is written any more, in either store."""
        self.left = Disk.of(self.file)
        self.files.cut_power(0)
        raise PowerCut

    @contextmanager
    def going_off_in_database(self, statements: int) -> Iterator[None]:
        """Let the database do so many statements more; a commit is one."""
        left = statements

        def happened(*_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0 and self.left is None:
                self.go_off()

        names = ("before_cursor_execute", "commit")
        for name in names:
            event.listen(self.database.engine, name, happened)
        yield
        for name in names:
            event.remove(self.database.engine, name, happened)

    def copies(self, survival: Survival) -> list[bytes]:
        """What is seen in the mailbox after the restart."""
        after = self.files.restarted(survival)
        return [after.content(f"/mail/ann/new/{name}") for name in after.names("/mail/ann/new")]

    def queued(self, directory: Path) -> list[bytes]:
        """What is in the queue after the restart, for each recipient."""
        directory.mkdir(exist_ok=True)
        (self.left or Disk.of(self.file)).put(directory / "queue.db")
        with Database(directory) as database:
            unsynced(database)
            store = Store("here")
            database.write(store.start)
            reader = Reader(database.reading, run_now)
            items = claimed(database, store)
            return [joined(reading(reader, store, item.message)) for item in items for _ in item.recipients]


@pytest.fixture
def machine(database: Database) -> Machine:
    return Machine(memory_maildirs(ANN), database)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path) as database:
        unsynced(database)
        yield database


def refresh(machine: Machine) -> None:
    """Begin again, with nothing stored."""
    machine.files, machine.left = memory_maildirs(ANN), None
    for table in ("recipients", "chunks", "staged", "messages", "destinations"):
        machine.database.execute(f"DELETE FROM {table}")


def examine(machine: Machine, content: bytes, failure: BaseException | None, directory: Path) -> None:
    """Nothing torn is seen, and what was acknowledged is there, in whatever state the machine comes back."""
    queued = machine.queued(directory)
    assert queued in ([], [b"Received: here\n" + content] * 2)
    for survival in Survival:
        copies = machine.copies(survival)
        assert copies in ([], [HEADER + content])
        if failure is None:
            assert copies
            assert queued
        if queued:
            assert copies  # the queue has the last word, so that its rows stand for the whole message


def steps(
    machine: Machine, content: bytes, directory: Path, going_off: Callable[[int], AbstractContextManager[None]]
) -> int:
    """Take a message again and again, and have the power go one step later each time; how many steps get it through."""
    failure: BaseException | None = PowerCut()
    done = 0
    while failure is not None:
        refresh(machine)
        with going_off(done):
            failure = machine.take(content)
        assert failure is None or isinstance(failure, PowerCut)
        examine(machine, content, failure, directory)
        done += 1
    return done - 1


@pytest.mark.parametrize("during", [False, True], ids=["at", "during"])
@CONTENTS
def test_the_power_goes_at_or_during_any_call_of_the_file_layer(
    machine: Machine, tmp_path: Path, content: bytes, during: bool
) -> None:
    def going_off(calls: int) -> AbstractContextManager[None]:
        machine.files.cut_power(calls, during=during)
        return nullcontext()

    assert steps(machine, content, tmp_path / "found", going_off) > 5


@CONTENTS
def test_the_power_goes_at_any_statement_of_the_queue_and_at_its_commit(
    machine: Machine, tmp_path: Path, content: bytes
) -> None:
    assert steps(machine, content, tmp_path / "found", machine.going_off_in_database) > 3


@CONTENTS
def test_the_power_goes_at_any_call_while_what_the_queue_refused_is_undone(
    machine: Machine, tmp_path: Path, content: bytes
) -> None:
    """The client hears C{451} or nothing; it may find the copy there, and sends it again."""
    machine.database.execute("ALTER TABLE recipients RENAME COLUMN notify TO gone")
    for calls in range(100):
        machine.files, machine.left = memory_maildirs(ANN), None
        machine.files.cut_power(calls)
        failure = machine.take(content)
        for survival in Survival:
            assert machine.copies(survival) in ([], [HEADER + content])
        assert machine.database.rows("SELECT * FROM messages") == []
        if isinstance(failure, StorageFailed):
            break
        assert isinstance(failure, PowerCut)
    assert calls > 6
    assert machine.copies(Survival.ALL) == []
