"""The mailstore: commits in memory and on the real file system, and mailboxes that fail and recover."""

from __future__ import annotations

import errno
import mailbox as stdlib
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mailagent.envelope.address import Address
from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import Chunks, IMailstore, MailboxUnwritable, StorageFailed, StorageFull
from mailagent.maildir.files import FileLayer, Files
from mailagent.maildir.mailstore import ELSEWHERE_LIMIT, Maildirs
from mailagent.maildir.memory import MemoryFiles, PowerCut, Survival
from mailagent.maildir.staging import MEMORY_LIMIT, RunInThread
from mailagent.threads import DaemonThreads
from tests import programs
from tests.maildir.support import ANN, BOB, Events, Threads, memory_maildirs, prepare, run_now

ID = "0123456789abcdefg"
HEADER = b"Delivered-To: x\n"
SMALL = b"Subject: small\n\nbody\n"
LARGE = b"Subject: large\n\n" + b"0123456789abcde\n" * (MEMORY_LIMIT // 8)


def mailstore(files: FileLayer, events: Events | None = None, *, run: RunInThread = run_now) -> Maildirs:
    return Maildirs(files, run, "mx.example.org", lambda: 1234567890.5, (Events() if events is None else events).log)


def commit(store: Maildirs, *mailboxes: Mailbox, content: bytes = SMALL) -> BaseException | None:
    """Stage and commit one message; what it failed with."""
    body = store.stage(mailboxes[0])
    for start in range(0, len(content), 65536):
        body.write(content[start : start + 65536])
    committed = outcome(store.commit(ID, [Copy(mailbox, HEADER) for mailbox in mailboxes], body))
    body.discard()
    return committed


def outcome(done: Deferred[None] | None) -> BaseException | None:
    """What a C{Deferred} that has fired failed with, or C{None}."""
    assert done is not None
    results: list[Failure | None] = []
    done.addBoth(results.append)
    (result,) = results
    return result.value if isinstance(result, Failure) else None


def real_mailbox(root: Path, name: str) -> Mailbox:
    return Mailbox(Address(name, "example.org"), str(root / name))


def debris(root: Path) -> list[Path]:
    """Every file below a directory that is not in a C{new}."""
    return [path for path in root.rglob("*") if not path.is_dir() and path.parent.name != "new"]


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    path = tmp_path / "tmpfs"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        programs.absent("way to mount a tmpfs")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_it_is_a_mailstore() -> None:
    assert verifyObject(IMailstore, mailstore(MemoryFiles()))


def test_file_names_tell_time_message_copy_and_host() -> None:
    files = memory_maildirs(ANN, BOB)
    assert commit(mailstore(files), ANN, BOB, ANN) is None
    assert files.names("/mail/ann/new") == [f"1234567890.{ID}_{index}.mx.example.org" for index in (0, 2)]
    assert files.names("/mail/bob/new") == [f"1234567890.{ID}_1.mx.example.org"]


def test_a_strange_host_name_makes_a_proper_file_name() -> None:
    files = memory_maildirs(ANN)
    store = Maildirs(files, run_now, "a/b:c" + "d" * 300, lambda: 0.0)
    assert commit(store, ANN) is None
    (name,) = files.names("/mail/ann/new")
    assert name.startswith(f"0.{ID}_0.a\\057b\\072cddd")
    assert len(name) < 200


def test_a_body_may_be_committed_again() -> None:
    files = memory_maildirs(ANN, BOB)
    store = mailstore(files)
    body = store.stage(ANN)
    body.write(LARGE)
    for mailbox in (ANN, BOB):
        assert outcome(store.commit(ID, [Copy(mailbox, HEADER)], body)) is None
    body.discard()
    assert files.descriptors == []
    assert [files.content(f"{mailbox.path}/new/{files.names(mailbox.path + '/new')[0]}") for mailbox in (ANN, BOB)] == [
        HEADER + LARGE
    ] * 2


def test_the_other_store_has_the_last_word() -> None:
    files = memory_maildirs(ANN)
    store = mailstore(files)
    seen: list[bytes] = []

    def last(chunks: Chunks) -> None:
        seen.append(b"".join(chunks()))
        seen.append(b"" if files.names("/mail/ann/new") else b"not yet there")
        raise StorageFailed("no")

    body = store.stage(None)
    body.write(b"hello")
    failures: list[Failure] = []
    store.commit(ID, [Copy(ANN, HEADER)], body, last).addErrback(failures.append)
    assert [failure.type for failure in failures] == [StorageFailed]
    assert seen == [b"hello", b""]
    assert files.names("/mail/ann/new") == []


@pytest.mark.parametrize("survival", Survival)
def test_power_cut_at_every_call_from_the_first_octet_to_the_end(survival: Survival) -> None:
    whole = HEADER + LARGE
    for number in range(1000):
        files = memory_maildirs(ANN, BOB)
        files.cut_power(number, during=number % 2 == 1)
        failure = commit(mailstore(files), ANN, BOB, content=LARGE)
        after = files.restarted(survival)
        paths = [f"/mail/{user}/new/{name}" for user in ("ann", "bob") for name in after.names(f"/mail/{user}/new")]
        assert all(after.content(path) == whole for path in paths)
        if failure is None:
            assert len(paths) == 2
            break
        assert isinstance(failure, PowerCut)
    assert number > 15


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, StorageFull) for code in (errno.ENOSPC, errno.EDQUOT)),
        *((code, StorageFailed) for code in (errno.EIO, errno.EMFILE, errno.ENFILE)),
        *((code, MailboxUnwritable) for code in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)),
    ],
)
def test_a_failure_is_the_trouble_it_is(code: int, kind: type) -> None:
    files = memory_maildirs(ANN)
    files.fail(code, "open_new")
    assert type(commit(mailstore(files), ANN)) is kind


def test_a_full_disk_while_staging_fails_the_commit_and_nothing_is_written() -> None:
    files = memory_maildirs(ANN)
    files.fail(errno.ENOSPC, "write")
    assert type(commit(mailstore(files), ANN, content=LARGE)) is StorageFull
    assert files.names("/mail/ann/new") == files.names("/mail/ann/tmp") == files.descriptors == []


def test_an_unwritable_mailbox_is_logged_once_with_its_cause() -> None:
    files, events = memory_maildirs(ANN, BOB), Events()
    store = mailstore(files, events)
    files.fail(errno.EROFS, "open_new", "/mail/bob")
    for _ in range(3):
        failure = commit(store, ANN, BOB)
        assert isinstance(failure, MailboxUnwritable)
        assert failure.mailbox == BOB
    assert events.named == ["mailbox_unwritable"]
    assert events[0]["mailbox"] == "/mail/bob"
    assert "Read-only file system" in events[0]["reason"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_other_trouble_marks_no_mailbox(code: int) -> None:
    files, events = memory_maildirs(ANN), Events()
    store = mailstore(files, events)
    files.fail(code, "open_new")
    commit(store, ANN)
    assert store.probe(ANN) is None
    assert events == []


def test_a_mailbox_not_known_to_be_unwritable_is_probed_without_any_call() -> None:
    files = MemoryFiles()
    assert mailstore(files).probe(ANN) is None
    assert files.calls == []


def test_an_unwritable_mailbox_is_refused_by_a_look_in_a_thread() -> None:
    files, threads = memory_maildirs(ANN, BOB), Threads()
    store = mailstore(files, run=threads.run)
    files.fail(errno.EROFS, path="/mail/bob/")
    done = store.commit(ID, [Copy(BOB, HEADER)], store.stage(BOB))
    threads.finish_all()
    assert isinstance(outcome(done), MailboxUnwritable)
    assert store.probe(ANN) is None
    files.calls.clear()
    probe = store.probe(BOB)
    assert files.calls == []
    threads.finish_all()
    failure = outcome(probe)
    assert isinstance(failure, MailboxUnwritable)
    assert failure.mailbox == BOB


def test_a_look_finds_a_mailbox_well_again_and_says_so_once() -> None:
    files, events, threads = memory_maildirs(ANN), Events(), Threads()
    store = mailstore(files, events, run=threads.run)
    files.fail(errno.EACCES, "open_new")
    done = store.commit(ID, [Copy(ANN, HEADER)], store.stage(ANN))
    threads.finish_all()
    outcome(done)
    files.heal()
    probes = [store.probe(ANN), store.probe(ANN)]
    threads.finish_all()
    assert [outcome(probe) for probe in probes] == [None, None]
    assert store.probe(ANN) is None
    assert events.named == ["mailbox_unwritable", "mailbox_recovered"]
    assert files.names("/mail/ann/tmp") == files.names("/mail/ann/new") == []


def test_a_look_that_a_full_disk_hinders_says_nothing_of_recovery() -> None:
    files, events = memory_maildirs(ANN), Events()
    store = mailstore(files, events)
    files.fail(errno.EROFS, "open_new")
    commit(store, ANN)
    files.heal()
    files.fail(errno.ENOSPC)
    probe = store.probe(ANN)
    assert outcome(probe) is None
    assert store.probe(ANN) is not None
    assert events.named == ["mailbox_unwritable"]


def test_a_commit_that_succeeds_shows_a_mailbox_well_again() -> None:
    files, events = memory_maildirs(ANN), Events()
    store = mailstore(files, events)
    files.fail(errno.EACCES, "open_new")
    commit(store, ANN)
    files.heal()
    for _ in range(2):
        assert commit(store, ANN) is None or pytest.fail("not delivered")
        files.unlink(f"/mail/ann/new/{files.names('/mail/ann/new')[0]}")
    assert store.probe(ANN) is None
    assert events.named == ["mailbox_unwritable", "mailbox_recovered"]


def test_a_mailbox_that_fails_again_is_logged_again() -> None:
    files, events = memory_maildirs(ANN), Events()
    store = mailstore(files, events)
    for _ in range(2):
        files.fail(errno.EACCES, "open_new")
        commit(store, ANN)
        files.heal()
        outcome(store.probe(ANN))
    assert events.named == ["mailbox_unwritable", "mailbox_recovered"] * 2


def test_a_message_discarded_before_its_commit_could_start_is_not_delivered() -> None:
    files, threads = memory_maildirs(ANN), Threads()
    store = mailstore(files, run=threads.run)
    body = store.stage(ANN)
    body.write(LARGE)
    done = store.commit(ID, [Copy(ANN, HEADER)], body)
    body.discard()
    threads.finish_all()
    assert isinstance(outcome(done), StorageFailed)
    assert files.names("/mail/ann/new") == []


@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_pythons_own_maildir_reads_what_was_delivered(tmp_path: Path, content: bytes) -> None:
    users = [real_mailbox(tmp_path, name) for name in ("ann", "bob", "cat")]
    prepare(Files(), *users)
    assert commit(mailstore(Files()), *users, users[0], content=content) is None
    for user, copies in zip(users, (2, 1, 1), strict=True):
        box = stdlib.Maildir(user.path, create=False)
        assert [box.get_bytes(key) for key in box.keys()] == [HEADER + content] * copies  # noqa: SIM118
        assert {path.stat().st_mode & 0o777 for path in Path(user.path, "new").iterdir()} == {0o600}
    assert debris(tmp_path) == []


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    user, missing = real_mailbox(tmp_path, "ann"), real_mailbox(tmp_path, "missing")
    prepare(Files(), user)
    before = os.listdir("/proc/self/fd")
    commit(mailstore(Files()), user, content=LARGE)
    commit(mailstore(Files()), user, missing, content=LARGE)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_missing_mailbox_fails_the_commit_leaves_no_debris_and_is_not_made(tmp_path: Path, content: bytes) -> None:
    ann, bob = real_mailbox(tmp_path, "ann"), real_mailbox(tmp_path, "bob")
    prepare(Files(), ann)
    for order in ((ann, bob), (bob, ann)):
        failure = commit(mailstore(Files()), *order, content=content)
        assert isinstance(failure, MailboxUnwritable)
        assert failure.mailbox == bob
        assert f"{tmp_path}/bob/" in str(failure)
    assert not (tmp_path / "bob").exists()
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_a_missing_new_is_noticed_and_recovers_without_a_restart(tmp_path: Path) -> None:
    user, events = real_mailbox(tmp_path, "ann"), Events()
    prepare(Files(), user)
    store = mailstore(Files(), events)
    (tmp_path / "ann/new").rmdir()
    (tmp_path / "ann/new").write_bytes(b"in the way")
    assert isinstance(commit(store, user), MailboxUnwritable)
    assert isinstance(outcome(store.probe(user)), MailboxUnwritable)
    (tmp_path / "ann/new").unlink()
    assert isinstance(outcome(store.probe(user)), MailboxUnwritable)
    (tmp_path / "ann/new").mkdir()
    assert outcome(store.probe(user)) is None
    assert commit(store, user) is None
    assert events.named == ["mailbox_unwritable", "mailbox_recovered"]
    assert debris(tmp_path) == []


@pytest.mark.parametrize("sizes", [[700_000], [200_000] * 8], ids=["large", "small"])
def test_a_full_disk_leaves_no_debris_and_recovers_without_a_restart(tmpfs: Path, sizes: list[int]) -> None:
    user = real_mailbox(tmpfs, "ann")
    prepare(Files(), user)
    store = Maildirs(Files(), run_now, "mx", iter(range(100)).__next__)
    failures = [commit(store, user, content=b"x\n" * (size // 2)) for size in sizes]
    assert type(failures[-1]) is StorageFull
    assert len(list(Path(user.path, "new").iterdir())) == failures.count(None)
    assert debris(tmpfs) == []
    assert store.probe(user) is None
    for path in Path(user.path, "new").iterdir():
        path.unlink()
    assert commit(store, user, content=b"x" * 200_000) is None


def test_a_read_only_file_system_makes_its_mailbox_unwritable_until_it_is_writable_again(tmpfs: Path) -> None:
    user, events = real_mailbox(tmpfs, "ann"), Events()
    prepare(Files(), user)
    store = mailstore(Files(), events)
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    failure = commit(store, user)
    assert isinstance(failure, MailboxUnwritable)
    assert "Read-only file system" in str(failure)
    with pytest.raises(MailboxUnwritable, match="Read-only file system"):
        prepare(Files(), user)
    assert isinstance(outcome(store.probe(user)), MailboxUnwritable)
    subprocess.run(["mount", "-o", "remount,rw", str(tmpfs)], check=True)
    assert outcome(store.probe(user)) is None
    assert commit(store, user) is None
    assert events.named == ["mailbox_unwritable", "mailbox_recovered"]


class Loop:
    """As much of a reactor as a thread pool needs: what threads hand back is run by L{until}, in this thread."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self.calls.put(partial(function, *args, **kwargs))

    def until(self, done: Deferred[None]) -> None:
        while not done.called or done.paused:
            self.calls.get(timeout=30)()


def test_a_large_message_passes_through_real_threads_with_back_pressure(tmp_path: Path) -> None:
    users = [real_mailbox(tmp_path, name) for name in ("ann", "bob")]
    prepare(Files(), *users)
    loop = Loop()
    pool = DaemonThreads("mailstore", 2, loop)
    try:
        store = mailstore(Files(), run=pool.run)
        body = store.stage(users[0])
        for _ in range(8):
            welcome = body.write(LARGE)
            if welcome is not None:
                loop.until(welcome)
        done = store.commit(ID, [Copy(user, HEADER) for user in users], body)
        loop.until(done)
    finally:
        pool.stop()
    assert outcome(done) is None
    for user in users:
        (path,) = Path(user.path, "new").iterdir()
        assert path.read_bytes() == HEADER + LARGE * 8
    assert debris(tmp_path) == []


def test_what_takes_long_or_waits_for_another_store_holds_up_nobody() -> None:
    files, threads = memory_maildirs(ANN), Threads()
    store, numbers = mailstore(files, run=threads.run), iter("1234")

    def begin(content: bytes, last: Callable[[Chunks], None] | None = None) -> int:
        """How many jobs there are once this is being committed."""
        body = store.stage(ANN)
        body.write(content)
        if content is LARGE:  # the job that writes it to its file
            threads.jobs.insert(0, threads.jobs.pop())
            threads.finish()
        store.commit(ID + next(numbers), [Copy(ANN, HEADER)], body, last)
        return len(threads.jobs)

    assert begin(SMALL) == 1
    assert begin(SMALL) == 1
    assert begin(SMALL, lambda chunks: None) == 2
    assert begin(LARGE) == 3
    threads.finish_all()
    assert len(files.names("/mail/ann/new")) == 4


def test_those_that_wait_for_another_store_leave_threads_to_the_others() -> None:
    files, threads = memory_maildirs(ANN), Threads()
    store = mailstore(files, run=threads.run)

    def raising(chunks: Chunks) -> None:
        raise StorageFailed("no")

    done = []
    for number in range(ELSEWHERE_LIMIT + 2):
        body = store.stage(ANN)
        body.write(SMALL)
        done.append(store.commit(f"{ID}{number}", [Copy(ANN, HEADER)], body, raising))
    assert len(threads.jobs) == ELSEWHERE_LIMIT
    threads.finish()
    assert len(threads.jobs) == ELSEWHERE_LIMIT
    threads.finish_all()
    assert [type(outcome(each)) for each in done] == [StorageFailed] * len(done)
