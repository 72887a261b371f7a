"""Maildirs at start: made, checked, cleaned."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable
from mailagent.maildir import layout
from mailagent.maildir.files import Files
from mailagent.maildir.memory import MemoryFiles, PowerCut, Survival
from tests.maildir.support import ANN, BOB, Events, memory_maildirs, prepare

HOUR = 3600.0


def test_a_missing_maildir_is_made_with_what_is_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "ann"
    prepare(Files(), Mailbox(Address("ann", ""), str(path)))
    assert sorted(entry.name for entry in path.iterdir()) == ["cur", "new", "tmp"]
    for directory in (path, path.parent, path / "cur", path / "new", path / "tmp"):
        assert directory.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("survival", Survival)
def test_a_maildir_that_was_made_survives_a_power_cut(survival: Survival) -> None:
    files = memory_maildirs(ANN).restarted(survival)
    assert files.names(ANN.path) == ["cur", "new", "tmp"]


def test_a_power_cut_at_any_call_leaves_what_the_next_start_can_complete() -> None:
    total = len(memory_maildirs(ANN, BOB).calls)
    for number in range(total):
        for survival in Survival:
            files = MemoryFiles()
            files.cut_power(number, during=True)
            with pytest.raises(PowerCut):
                prepare(files, ANN, BOB)
            again = files.restarted(survival)
            prepare(again, ANN, BOB)
            final = again.restarted(Survival.NOTHING)
            assert final.names(ANN.path) == final.names(BOB.path) == ["cur", "new", "tmp"]


def test_what_a_killed_start_made_but_did_not_sync_is_synced_by_the_next() -> None:
    total = len(memory_maildirs(ANN, BOB).calls)
    for number in range(total):
        files = memory_maildirs()
        files.cut_power(number, during=True)
        with pytest.raises(PowerCut):
            prepare(files, ANN, BOB)
        files.process_restarted()
        prepare(files, ANN, BOB)
        final = files.restarted(Survival.NOTHING)
        for mailbox in (ANN, BOB):  # tmp may be gone: no mail is in it
            assert {"cur", "new"} <= set(final.names(mailbox.path))


class Shared(MemoryFiles):
    """Where another node makes each directory just before we do."""

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def test_what_two_nodes_make_at_the_same_time_is_made() -> None:
    files = Shared()
    prepare(files, ANN, BOB)
    assert files.names(ANN.path) == files.names(BOB.path) == ["cur", "new", "tmp"]


def test_an_existing_maildir_is_used_as_it_is(tmp_path: Path) -> None:
    for name in ("cur", "new", "tmp", "other"):
        (tmp_path / name).mkdir(0o750)
    for name in ("cur/seen", "new/unseen", "other/file", "dovecot.index"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0))
    before = sorted((path, path.lstat().st_mode, path.lstat().st_nlink) for path in tmp_path.rglob("*"))
    assert prepare(Files(), Mailbox(Address("ann", ""), str(tmp_path)), now=1e9) == []
    assert sorted((path, path.lstat().st_mode, path.lstat().st_nlink) for path in tmp_path.rglob("*")) == before


def test_a_file_in_the_place_of_a_directory_is_reported_in_one_line_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "ann").write_bytes(b"")
    mailbox = Mailbox(Address("ann", ""), str(tmp_path / "ann"))
    with pytest.raises(MailboxUnwritable) as caught:
        prepare(Files(), mailbox)
    assert caught.value.mailbox == mailbox
    assert str(caught.value).startswith(str(tmp_path / "ann"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["new", "tmp"])
def test_a_file_in_the_place_of_new_or_tmp_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(MailboxUnwritable, match=f"/{name}: Not a directory"):
        prepare(Files(), Mailbox(Address("ann", ""), str(tmp_path)))


@pytest.mark.parametrize("call", ["make_directory", "fsync_directory", "open_anonymous", "check_writable"])
def test_a_maildir_that_cannot_be_made_or_written_is_reported(call: str) -> None:
    files = MemoryFiles()
    files.fail(errno.EROFS, call)
    with pytest.raises(MailboxUnwritable, match="Read-only file system"):
        prepare(files, ANN)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_does_not_speak_against_a_mailbox(code: int) -> None:
    files = memory_maildirs(ANN)
    files.fail(code, "open_anonymous")
    layout.check(files, ANN)


def test_a_check_leaves_nothing_behind() -> None:
    files = memory_maildirs(ANN)
    layout.check(files, ANN)
    assert files.descriptors == []
    assert files.names("/mail/ann/tmp") == files.names("/mail/ann/new") == []


def test_leftovers_older_than_36_hours_are_removed_and_counted(tmp_path: Path) -> None:
    mailbox = Mailbox(Address("ann", ""), str(tmp_path))
    prepare(Files(), mailbox)
    for name, age in (("old", 37), ("older", 1000), ("young", 35)):
        (tmp_path / "tmp" / name).write_bytes(b"x")
        os.utime(tmp_path / "tmp" / name, (0, 1e9 - age * HOUR))
    events = prepare(Files(), mailbox, now=1e9)
    assert [entry.name for entry in (tmp_path / "tmp").iterdir()] == ["young"]
    assert [(event["event"], event["count"], event["mailbox"]) for event in events] == [
        ("leftovers_removed", 2, str(tmp_path))
    ]


def test_only_regular_files_are_leftovers(tmp_path: Path) -> None:
    mailbox = Mailbox(Address("ann", ""), str(tmp_path / "ann"))
    prepare(Files(), mailbox)
    target = tmp_path / "target"
    target.write_bytes(b"x")
    (tmp_path / "ann/tmp/link").symlink_to(target)
    (tmp_path / "ann/tmp/directory").mkdir()
    os.mkfifo(tmp_path / "ann/tmp/fifo")
    for name in ("link", "directory", "fifo"):
        os.utime(tmp_path / "ann/tmp" / name, (0, 0), follow_symlinks=False)
    assert layout.clean(Files(), mailbox, 1e9) == 0
    assert len(list((tmp_path / "ann/tmp").iterdir())) == 3
    assert target.exists()


def test_a_leftover_that_cannot_be_removed_stops_nothing() -> None:
    files = memory_maildirs(ANN, BOB)
    for path in ("/mail/ann/tmp/stuck", "/mail/ann/tmp/loose", "/mail/bob/tmp/loose"):
        files.close(files.open_new(path))
    files.fail(errno.EPERM, "unlink", "stuck")
    events = prepare(files, ANN, BOB, now=37 * HOUR)
    assert files.names("/mail/ann/tmp") == ["stuck"]
    assert [event["count"] for event in events] == [1, 1]


def test_tmp_that_cannot_be_listed_is_reported() -> None:
    files = memory_maildirs(ANN)
    files.fail(errno.EACCES, "list_directory")
    with pytest.raises(MailboxUnwritable, match="/mail/ann/tmp: Permission denied"):
        layout.prepare(files, [ANN], 0.0, Events().log)


def test_a_directory_above_that_we_may_not_read_is_no_obstacle() -> None:
    class Home(MemoryFiles):
        def fsync_directory(self, path: str) -> None:
            if path == "/home":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            super().fsync_directory(path)

    files = Home()
    files.make_directory("/home")
    files.make_directory("/home/ann")
    mailbox = Mailbox(Address("ann", ""), "/home/ann")
    layout.make(files, mailbox)
    assert files.names("/home/ann") == ["cur", "new", "tmp"]


def test_a_name_the_locale_cannot_write_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: object) -> None:
        raise UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range(128)")

    files = MemoryFiles()
    monkeypatch.setattr(files, "make_directory", encode)
    with pytest.raises(MailboxUnwritable, match=r"'/mail/ann' is no file name in this locale"):
        layout.make(files, ANN)
