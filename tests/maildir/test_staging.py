"""Content on its way to storage: in memory while small, then in a file without a name."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mailagent.budget import Budget
from mailagent.interfaces import IStagedBody, MailboxUnwritable, StorageFailed, StorageFull
from mailagent.maildir import staging
from mailagent.maildir.files import FileLayer
from mailagent.maildir.memory import MemoryFiles
from mailagent.maildir.staging import MEMORY_LIMIT, SMALL, StagedBody, StagedContent
from tests.maildir.support import ANN, Threads, memory_maildirs, run_now

BIG = b"x" * (MEMORY_LIMIT + 1)


def joined(content: StagedContent) -> bytes:
    return b"".join(content.chunks())


def read(body: StagedBody, job: Callable[[StagedContent], Any] = joined) -> Deferred[Any]:
    """Have C{job} done with the content in a thread."""
    return body.lend(partial(body._run_in_thread, job))


def result(deferred: Deferred[bytes]) -> object:
    """What a C{Deferred} has come to: its result, its exception, or C{None} while it waits."""
    results: list[object] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results[0] if results else None


def opened(files: MemoryFiles) -> int:
    return sum(call.name.startswith("open") for call in files.calls)


def after_preparation(files: MemoryFiles) -> MemoryFiles:
    files.calls.clear()
    return files


@pytest.fixture
def files() -> MemoryFiles:
    return after_preparation(memory_maildirs(ANN))


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def body(files: MemoryFiles, threads: Threads) -> StagedBody:
    return StagedBody(files, ANN, threads.run)


def test_it_is_a_staged_body(body: StagedBody) -> None:
    assert verifyObject(IStagedBody, body)


def test_a_small_body_never_touches_the_disk(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    assert body.write(b"x" * MEMORY_LIMIT) is None
    assert result(read(body)) == b"x" * MEMORY_LIMIT
    body.discard()
    assert files.calls == []


def test_a_small_body_is_at_hand(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    body.write(b"x" * (SMALL - 1))
    body.write(b"y")
    assert body.at_hand() == b"x" * (SMALL - 1) + b"y"
    body.write(b"z")
    assert body.at_hand() is None


def test_what_is_in_a_file_or_discarded_is_not_at_hand(files: MemoryFiles) -> None:
    spilt, discarded = StagedBody(files, ANN, run_now), StagedBody(files, ANN, run_now)
    spilt.write(b"x" * (MEMORY_LIMIT + 1))
    spilt.write(b"y")
    discarded.write(b"x")
    discarded.discard()
    assert (spilt.at_hand(), discarded.at_hand()) == (None, None)


def test_what_a_job_has_is_not_at_hand(body: StagedBody, threads: Threads) -> None:
    body.write(b"x")
    reading = read(body)
    assert body.at_hand() is None
    threads.finish_all()
    assert result(reading) == b"x"


def test_a_large_body_is_kept_in_a_file_without_a_name_in_the_mailboxes_tmp(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    body.write(BIG)
    body.write(b"tail")
    assert files.descriptors == ["/mail/ann/tmp"]
    assert files.names("/mail/ann/tmp") == []
    assert result(read(body)) == BIG + b"tail"
    assert body.size == len(BIG) + 4


def test_a_large_body_is_read_in_bounded_chunks(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    for _ in range(3):
        body.write(BIG)
    sizes: list[int] = []
    read(body, lambda content: sizes.extend(len(chunk) for chunk in content.chunks()))
    assert sizes == [MEMORY_LIMIT] * 3 + [3, 0]


def test_content_can_be_read_more_than_once(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    body.write(BIG)
    assert result(read(body, lambda content: joined(content) + joined(content))) == BIG + BIG


@given(
    chunks=st.lists(st.binary(max_size=12)),
    limit=st.integers(0, 20),
    schedule=st.lists(st.booleans()),
    memory=st.integers(0, 100),
)
def test_any_chunks_come_back_as_they_went_in(
    chunks: list[bytes], limit: int, schedule: list[bool], memory: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "MEMORY_LIMIT", max(limit, 1))
        files, threads = memory_maildirs(ANN), Threads()
        budget = Budget(memory)
        body = StagedBody(files, ANN, threads.run, budget)
        for number, chunk in enumerate(chunks):
            body.write(chunk)
            if number < len(schedule) and schedule[number] and threads.jobs:
                threads.finish()
        reading = read(body)
        body.discard() if not threads.jobs else None
        threads.finish_all()
        outcome = result(reading)
        assert outcome == b"".join(chunks)
        assert body.size == len(b"".join(chunks))
        body.discard()
        threads.finish_all()
        assert files.descriptors == []
        assert budget.used == 0


def test_the_sender_goes_on_while_the_first_tail_is_written_and_waits_when_the_next_is_full(
    body: StagedBody, threads: Threads
) -> None:
    assert body.write(BIG) is None
    assert body.write(b"x" * MEMORY_LIMIT) is None
    welcome = body.write(b"y")
    assert welcome is not None
    assert not welcome.called
    threads.finish()
    assert welcome.called
    assert len(threads.jobs) == 1  # the full tail is on its way


def test_no_more_than_two_tails_are_in_memory_when_the_sender_keeps_to_the_rule(
    body: StagedBody, threads: Threads, files: MemoryFiles
) -> None:
    written = 0
    for _ in range(20):
        welcome = body.write(b"x" * 65536)
        written += 65536
        while welcome is not None and not welcome.called:
            threads.finish()
        stored = sum(len(files._descriptors[fd].file.content) for fd in files._descriptors)
        assert written - stored <= 2 * (MEMORY_LIMIT + 65536)


def test_one_job_at_a_time_touches_the_file(body: StagedBody, threads: Threads) -> None:
    for _ in range(4):
        body.write(BIG)
    read(body)
    assert len(threads.jobs) == 1


def test_reading_waits_for_what_is_being_written(body: StagedBody, threads: Threads) -> None:
    body.write(BIG)
    found: list[bytes] = []
    read(body).addCallback(found.append)
    assert len(threads.jobs) == 1
    threads.finish()
    assert found == []
    threads.finish()
    assert found == [BIG]


@pytest.mark.parametrize("call", ["open_anonymous", "write"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StorageFailed),
        (errno.EMFILE, StorageFailed),
        (errno.EROFS, MailboxUnwritable),
    ],
)
def test_a_disk_error_is_what_reading_fails_with(files: MemoryFiles, call: str, code: int, kind: type) -> None:
    files.fail(code, call)
    body = StagedBody(files, ANN, run_now)
    assert body.write(BIG) is None
    assert type(result(read(body))) is kind


def test_after_a_disk_error_content_is_dropped_and_its_space_freed(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    body.write(BIG)
    files.fail(errno.ENOSPC, "write")
    body.write(BIG)
    assert files.descriptors == []
    files.heal()
    files.calls.clear()
    for _ in range(3):
        assert body.write(BIG) is None
    assert files.calls == []
    assert len(body._tail) == 0
    assert body.size == 5 * len(BIG)


def test_a_disk_error_releases_the_sender_without_failing_it(
    body: StagedBody, threads: Threads, files: MemoryFiles
) -> None:
    files.fail(errno.EIO, "write")
    body.write(BIG)
    welcome = body.write(BIG)
    assert welcome is not None
    threads.finish()
    assert welcome.called
    assert not isinstance(welcome.result, Failure)


def test_discard_closes_the_file(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    body.write(BIG)
    body.discard()
    assert files.descriptors == []


def test_discard_may_come_again(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    body.write(BIG)
    for _ in range(3):
        body.discard()
    assert [call.name for call in files.calls].count("close") == 1


def test_discard_waits_for_a_write_under_way_then_closes(
    body: StagedBody, threads: Threads, files: MemoryFiles
) -> None:
    body.write(BIG)
    threads.finish()
    body.write(BIG)
    body.discard()
    assert len(threads.jobs) == 1  # the write; nothing closes the file under it
    threads.finish()
    assert files.descriptors == ["/mail/ann/tmp"]
    threads.finish_all()
    assert files.descriptors == []


def test_discard_while_the_file_is_being_opened_does_not_leak_it(
    body: StagedBody, threads: Threads, files: MemoryFiles
) -> None:
    body.write(BIG)
    body.discard()
    threads.finish_all()
    assert opened(files) == 1
    assert files.descriptors == []


def test_discard_leaves_a_reader_all_it_reads(body: StagedBody, threads: Threads, files: MemoryFiles) -> None:
    body.write(BIG)
    threads.finish()
    body.write(b"tail")
    reading = read(body)
    body.discard()
    threads.finish()
    assert result(reading) == BIG + b"tail"
    threads.finish_all()
    assert files.descriptors == []


def test_discard_releases_the_sender(body: StagedBody) -> None:
    body.write(BIG)
    welcome = body.write(BIG)
    assert welcome is not None
    body.discard()
    assert welcome.called


def test_discarded_content_cannot_be_read(body: StagedBody, threads: Threads) -> None:
    body.write(BIG)
    reading = read(body)
    body.discard()
    threads.finish_all()
    assert isinstance(result(reading), StorageFailed)


def test_content_after_discard_is_dropped(files: MemoryFiles) -> None:
    body = StagedBody(files, ANN, run_now)
    body.discard()
    assert body.write(BIG) is None
    assert files.calls == []


def test_an_error_on_closing_harms_nobody(files: MemoryFiles) -> None:
    jobs: list[Deferred[object]] = []

    def run(function: Callable[..., object], *args: object) -> Deferred[object]:
        jobs.append(run_now(function, *args))
        return jobs[-1]

    body = StagedBody(files, ANN, run)
    body.write(BIG)
    files.fail(errno.EIO, "close")
    body.discard()
    assert files.descriptors == []
    assert not any(isinstance(job.result, Failure) for job in jobs)  # nothing is left to complain of later


def test_a_file_that_became_shorter_is_an_error_not_a_torn_message(files: MemoryFiles) -> None:
    layer: FileLayer = files
    fd = layer.open_anonymous("/mail/ann/tmp")
    layer.write(fd, b"123")
    with pytest.raises(OSError, match="Input/output error"):
        joined(StagedContent(layer, fd, 4, b"tail"))


def test_what_is_in_memory_counts_until_it_is_in_the_file(files: MemoryFiles, threads: Threads) -> None:
    budget = Budget()
    body = StagedBody(files, ANN, threads.run, budget)
    body.write(b"x" * MEMORY_LIMIT)
    assert budget.used == MEMORY_LIMIT
    body.write(b"y")
    assert budget.used == MEMORY_LIMIT + 1  # it is on its way
    threads.finish()
    assert budget.used == 0


def test_a_small_body_goes_to_its_file_when_memory_is_exhausted(files: MemoryFiles) -> None:
    budget = Budget(limit=100, used=101)
    body = StagedBody(files, ANN, run_now, budget)
    assert body.write(b"small") is None
    assert budget.used == 101
    assert files.descriptors == ["/mail/ann/tmp"]
    assert result(read(body)) == b"small"


def test_the_sender_waits_for_the_file_when_memory_is_exhausted(files: MemoryFiles, threads: Threads) -> None:
    body = StagedBody(files, ANN, threads.run, Budget(limit=100, used=101))
    welcome = body.write(b"small")
    assert welcome is not None
    assert not welcome.called
    threads.finish()
    assert welcome.called


def test_many_bodies_hold_no_more_than_their_memory_and_one_read_each(files: MemoryFiles, threads: Threads) -> None:
    budget = Budget(limit=1000)
    bodies = [StagedBody(files, ANN, threads.run, budget) for _ in range(20)]
    waiting = {body: body.write(b"x" * 100) for body in bodies}
    for _ in range(5):
        for body in bodies:
            welcome = waiting[body]
            if welcome is None or welcome.called:
                waiting[body] = body.write(b"x" * 100)
            assert budget.used <= 1000 + 20 * 100
    threads.finish_all()
    assert budget.used <= 1000


def test_a_discarded_body_frees_its_memory_once_no_job_holds_it(files: MemoryFiles, threads: Threads) -> None:
    budget = Budget()
    body = StagedBody(files, ANN, threads.run, budget)
    body.write(BIG)
    body.write(b"tail")
    body.discard()
    assert budget.used == len(BIG)
    threads.finish_all()
    assert budget.used == 0
