"""Messages that are committed together: few fsyncs, and each still stands or falls alone."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Barrier, Event, Thread
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable, StorageFailed, StorageFull
from mailagent.maildir.group_commit import BATCH_LIMIT, PATIENCE, GroupCommit, Lane, SpreadOverThreads
from mailagent.maildir.memory import MemoryFiles, PowerCut, Survival
from mailagent.maildir.publishing import Entry, Publication
from mailagent.maildir.staging import StagedContent
from mailagent.threads import DaemonThreads
from tests.maildir.support import ANN, BOB, CAT, Threads, memory_maildirs, prepare

MAILBOXES = (ANN, BOB, CAT)


class Pool(Threads):
    """Threads that may lose their power."""

    def finish(self) -> None:
        done, job = self.jobs.pop(0)
        try:
            done.callback(job())
        except PowerCut:
            done.errback(Failure())


@attrs.define(eq=False)
class Message:
    """One that was handed over, and how it went."""

    name: str
    mailboxes: Sequence[Mailbox]
    outcome: list[Any] = attrs.field(factory=list)

    @property
    def entries(self) -> list[Entry]:
        return [
            Entry(Copy(mailbox, b"Delivered-To: x\n"), f"{self.name}_{n}") for n, mailbox in enumerate(self.mailboxes)
        ]

    @property
    def whole(self) -> dict[str, bytes]:
        """What readers find when it is there."""
        return {entry.published: b"Delivered-To: x\n" + self.name.encode() for entry in self.entries}

    @property
    def error(self) -> BaseException | None:
        [result] = self.outcome
        return result.value if isinstance(result, Failure) else None


@attrs.define(eq=False)
class Disk:
    """A group committer on files in memory. The first message finds it idle; the others share the second batch."""

    files: MemoryFiles = attrs.field(factory=lambda: memory_maildirs(*MAILBOXES))
    pool: Pool = attrs.field(factory=Pool)
    lanes: int = 1
    clock: Clock = attrs.field(factory=Clock)
    group: GroupCommit = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.files.calls.clear()
        self.group = GroupCommit(self.files, [Lane(self.pool.run)] * self.lanes, self.clock.callLater)

    def commit(self, *messages: Message) -> None:
        for message in messages:
            content = StagedContent(self.files, None, 0, message.name.encode())
            self.group.commit(Publication(self.files, message.entries, content)).addBoth(message.outcome.append)

    def visible(self, files: MemoryFiles | None = None) -> dict[str, bytes]:
        files = files or self.files
        news = [f"{mailbox.path}/new" for mailbox in MAILBOXES]
        return {f"{new}/{name}": files.content(f"{new}/{name}") for new in news for name in files.names(new)}

    @property
    def staged(self) -> list[str]:
        return [name for mailbox in MAILBOXES for name in self.files.names(f"{mailbox.path}/tmp")]


def messages() -> list[Message]:
    """The first is alone; the other three are a batch in which two share one mailbox, and one has two copies."""
    return [Message("1", [ANN]), Message("2", [ANN, BOB]), Message("3", [ANN]), Message("4", [CAT])]


def total_calls() -> int:
    disk = Disk()
    disk.commit(*messages())
    disk.pool.finish_all()
    return len(disk.files.calls)


def test_a_message_that_finds_nothing_under_way_begins_at_once() -> None:
    disk, [first, *_] = Disk(), messages()
    disk.commit(first)
    assert len(disk.pool.jobs) == 1
    assert first.outcome == []
    disk.pool.finish()
    assert first.outcome == [None]
    assert disk.visible() == first.whole


def test_what_waits_while_a_batch_runs_is_the_next() -> None:
    disk, [first, *others] = Disk(), messages()
    disk.commit(first, *others)
    assert len(disk.pool.jobs) == 1
    disk.pool.finish()
    assert [each.outcome for each in others] == [[]] * 3
    assert len(disk.pool.jobs) == 1
    disk.pool.finish()
    assert [each.outcome for each in others] == [[None]] * 3
    assert disk.pool.jobs == []


def test_each_directory_is_synced_once_in_a_batch() -> None:
    disk, [first, *others] = Disk(), messages()
    disk.commit(first, *others)
    disk.pool.finish()
    disk.files.calls.clear()
    disk.pool.finish()
    synced = [call.path for call in disk.files.calls if call.name == "fsync_directory"]
    assert synced == ["/mail/ann/new", "/mail/bob/new", "/mail/cat/new"]


def test_a_batch_has_a_limit() -> None:
    disk = Disk()
    crowd = [Message(str(number), [ANN]) for number in range(BATCH_LIMIT + 2)]
    disk.commit(*crowd)
    disk.pool.finish()
    disk.pool.finish()
    assert [each.outcome for each in crowd] == [[None]] * (BATCH_LIMIT + 1) + [[]]
    disk.pool.finish()
    assert crowd[-1].outcome == [None]


def test_the_limit_counts_copies_and_no_message_is_too_large_for_it() -> None:
    disk, [first, *_] = Disk(), messages()
    large, last = Message("large", [ANN] * (BATCH_LIMIT + 1)), Message("last", [ANN])
    disk.commit(first, large, last)
    disk.pool.finish()
    disk.pool.finish()
    assert (large.outcome, last.outcome) == ([None], [])
    disk.pool.finish()
    assert last.outcome == [None]


@pytest.mark.parametrize("during", [False, True], ids=["before", "during"])
@pytest.mark.parametrize("survival", Survival)
def test_a_power_cut_at_any_call_tears_nothing_and_loses_nothing_that_was_said_to_be_there(
    survival: Survival, during: bool
) -> None:
    calls = total_calls()
    for number in range(calls):
        disk, crowd = Disk(), messages()
        disk.files.cut_power(number, during=during)
        disk.commit(*crowd)
        disk.pool.finish_all()
        found = disk.visible(disk.files.restarted(survival))
        whole = {path: octets for each in crowd for path, octets in each.whole.items()}
        assert found.items() <= whole.items(), number
        for each in crowd:
            assert isinstance(each.error, PowerCut) or each.whole.items() <= found.items(), number
    assert calls > 25


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StorageFull), (errno.EROFS, MailboxUnwritable), (errno.EIO, StorageFailed)]
)
def test_an_error_at_any_call_fails_those_it_is_for_and_stores_the_others(code: int, kind: type) -> None:
    for number in range(total_calls()):
        disk, crowd = Disk(), messages()
        disk.files.fail_next(number, code)
        disk.commit(*crowd)
        disk.pool.finish_all()
        failed = [each for each in crowd if each.error is not None]
        call = disk.files.calls[number]
        assert len(failed) <= (2 if call.name == "fsync_directory" else 1)
        assert all(type(each.error) is kind for each in failed)
        whole = {path: octets for each in crowd if each not in failed for path, octets in each.whole.items()}
        assert disk.visible() == whole, call
        assert len(disk.staged) == (call.name == "unlink")
        assert disk.files.descriptors == []
        for survival in Survival:
            after = disk.visible(disk.files.restarted(survival))
            assert whole.items() <= after.items(), call


def test_a_power_cut_after_an_error_tears_nothing_and_loses_nothing() -> None:
    for failing in range(total_calls()):
        for later in range(1, 12):
            disk, crowd = Disk(), messages()
            disk.files.fail_next(failing, errno.EIO)
            disk.files.cut_power(failing + later)
            disk.commit(*crowd)
            disk.pool.finish_all()
            found = disk.visible(disk.files.restarted(Survival.NOTHING))
            torn = disk.visible(disk.files.restarted(Survival.TORN))
            whole = {path: octets for each in crowd for path, octets in each.whole.items()}
            assert torn.items() <= whole.items(), (failing, later)
            for each in crowd:
                assert each.error is not None or each.whole.items() <= found.items(), (failing, later)


def test_a_directory_that_cannot_be_synced_fails_all_who_have_a_copy_there() -> None:
    disk, [first, two, three, four] = Disk(), messages()
    disk.commit(first, two, three, four)
    disk.pool.finish()
    disk.files.fail(errno.EIO, "fsync_directory", "/mail/ann")
    disk.pool.finish()
    assert isinstance(two.error, StorageFailed)
    assert isinstance(three.error, StorageFailed)
    assert disk.visible() == {**first.whole, **four.whole}
    assert sum(call.name == "fsync_directory" and "ann" in call.path for call in disk.files.calls) == 2


def test_a_batch_that_breaks_fails_all_of_it_and_the_next_goes_on() -> None:
    disk, [first, two, *_] = Disk(), messages()
    disk.commit(first)
    done, _ = disk.pool.jobs.pop()
    disk.commit(two)
    done.errback(RuntimeError("no thread"))
    assert isinstance(first.error, RuntimeError)
    disk.pool.finish()
    assert two.outcome == [None]


# A disk that hangs


class Hanging(MemoryFiles):
    """Files of which some are fsynced only when the test says so."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = "none"
        prepare(self, *MAILBOXES)
        self.path = path
        self.reached, self.goes_on = Event(), Event()

    def fsync(self, fd: int) -> None:
        if self.path in self._descriptors[fd].path:
            self._hang()
        super().fsync(fd)

    def fsync_directory(self, path: str) -> None:
        if self.path in path:
            self._hang()
        super().fsync_directory(path)

    def _hang(self) -> None:
        self.reached.set()
        assert self.goes_on.wait(30)


@contextmanager
def hung(path: str, *messages: Message) -> Iterator[Disk]:
    """A disk on which these messages are a batch that hangs at C{path}."""
    disk = Disk(files := Hanging(path), lanes=3)
    disk.commit(Message("first", [CAT]), *messages)
    disk.pool.finish()
    done, job = disk.pool.jobs.pop()
    thread = Thread(target=job)
    thread.start()
    assert files.reached.wait(30)
    disk.clock.advance(PATIENCE)  # the look that was for the batch before
    yield disk
    files.goes_on.set()
    thread.join()
    done.callback(None)
    disk.pool.finish_all()
    assert [message.outcome for message in messages] == [[None]] * len(messages)


@pytest.mark.parametrize("path", ["/mail/ann/tmp", "/mail/ann/new"])
def test_a_batch_that_hangs_holds_up_no_mail_but_its_own_and_that_of_the_mailbox_where_it_hangs(path: str) -> None:
    others, ann = [Message("4", [BOB]), Message("5", [CAT])], Message("6", [CAT, ANN])
    with hung(path, Message("1", [BOB]), Message("2", [ANN]), Message("3", [CAT])) as disk:
        disk.commit(ann, *others)
        assert disk.pool.jobs == []
        disk.clock.advance(PATIENCE)
        disk.pool.finish_all()
        assert [each.outcome for each in others] == [[None]] * 2
        assert ann.outcome == []
    assert ann.outcome == [None]


def test_where_a_batch_is_said_to_be_nowhere_its_mailboxes_all_wait() -> None:
    disk = Disk(lanes=2)
    crowd = [Message("1", [ANN]), Message("2", [ANN]), Message("3", [BOB])]
    disk.commit(*crowd)
    disk.clock.advance(PATIENCE)
    done, job = disk.pool.jobs.pop(0)
    disk.pool.finish_all()
    assert [each.outcome for each in crowd] == [[], [], [None]]
    done.callback(job())
    disk.pool.finish_all()
    assert [each.outcome for each in crowd] == [[None]] * 3


def test_there_are_no_more_late_batches_than_lanes() -> None:
    disk = Disk(lanes=2)
    for number, mailbox in enumerate(MAILBOXES):
        disk.commit(Message(str(number), [mailbox]))
        disk.clock.advance(PATIENCE)
    assert len(disk.pool.jobs) == 2
    disk.pool.finish()
    assert len(disk.pool.jobs) == 2
    disk.pool.finish_all()
    assert len(disk.visible()) == 3


def test_a_batch_that_ends_in_time_is_never_late() -> None:
    disk, [first, two, three, four] = Disk(lanes=2), messages()
    disk.commit(first, two)
    disk.clock.advance(PATIENCE / 2)
    disk.pool.finish()
    disk.commit(three, four)
    disk.clock.advance(PATIENCE / 2)  # the clock was for the one that has ended
    assert len(disk.pool.jobs) == 1
    disk.pool.finish_all()
    assert [each.outcome for each in (first, two, three, four)] == [[None]] * 4


# Over threads


@pytest.fixture
def pool() -> Iterator[DaemonThreads]:
    pool = DaemonThreads("copies", 4, reactor=None)
    yield pool
    pool.stop()


def test_things_are_done_at_the_same_time_and_each_once(pool: DaemonThreads) -> None:
    together, done = Barrier(3, timeout=30), list[int]()

    def job(thing: int) -> None:
        together.wait()
        done.append(thing)

    SpreadOverThreads(pool.call_in_thread, 3)(job, range(12))
    assert sorted(done) == list(range(12))


def test_one_thing_needs_no_other_thread() -> None:
    done: list[str] = []
    SpreadOverThreads(lambda *_: pytest.fail("another thread"), 4)(done.append, ["one"])
    assert done == ["one"]


def test_threads_that_are_busy_elsewhere_are_not_waited_for() -> None:
    done: list[int] = []
    late: list[Callable[[], object]] = []
    SpreadOverThreads(lambda function, *args: late.append(lambda: function(*args)), 4)(done.append, range(5))
    assert done == list(range(5))
    for call in late:
        call()
    assert done == list(range(5))


def test_what_goes_wrong_in_any_thread_is_told() -> None:
    def broken(thing: int) -> None:
        raise PowerCut

    def at_once(function: Callable[..., object], *args: Any) -> None:
        thread = Thread(target=function, args=args)
        thread.start()
        thread.join()

    with pytest.raises(PowerCut):
        SpreadOverThreads(at_once, 2)(broken, range(2))
