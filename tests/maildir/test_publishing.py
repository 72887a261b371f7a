"""All copies or none, in every state a failure or a power cut can leave behind."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest

from mailagent.envelope.copy import Copy
from mailagent.interfaces import MailboxUnwritable, StorageFailed, StorageFull
from mailagent.maildir.memory import MemoryFiles, PowerCut, Survival
from mailagent.maildir.publishing import TOGETHER, Entry, Publication, publish
from mailagent.maildir.staging import StagedContent
from tests.maildir.support import ANN, BOB, CAT, memory_maildirs, prepare

MAILBOXES = (ANN, BOB, CAT)
BODY = b"Subject: x\n\nbody\n"
#: Two copies go to one mailbox.
ENTRIES = [
    Entry(Copy(mailbox, b"Delivered-To: " + name.encode() + b"\n"), name)
    for mailbox, name in ((ANN, "1"), (BOB, "2"), (CAT, "3"), (ANN, "4"))
]
WHOLE = {entry.published: entry.copy.header + BODY for entry in ENTRIES}


#: Whether the file system can be synced as a whole.
either_way = pytest.mark.parametrize("whole", [False, True], ids=["each", "whole"])


def new_files(whole: bool = False) -> tuple[MemoryFiles, StagedContent]:
    """Three mailboxes, and content half of which is in a file."""
    files = memory_maildirs(*MAILBOXES)
    files.whole = whole
    fd = files.open_anonymous("/mail/ann/tmp")
    files.write(fd, BODY[:9])
    files.calls.clear()
    return files, StagedContent(files, fd, 9, BODY[9:])


def visible(files: MemoryFiles) -> dict[str, bytes]:
    """What mail readers find."""
    paths = [f"{mailbox.path}/new/{name}" for mailbox in MAILBOXES for name in files.names(f"{mailbox.path}/new")]
    return {path: files.content(path) for path in paths}


def staged(files: MemoryFiles) -> list[str]:
    return [name for mailbox in MAILBOXES for name in files.names(f"{mailbox.path}/tmp")]


def publish_one(files: MemoryFiles, content: StagedContent, entries: Sequence[Entry] = ENTRIES) -> None:
    message = Publication(files, entries, content)
    publish(files, [message])
    if message.error is not None:
        raise message.error


def total_calls(whole: bool) -> int:
    files, content = new_files(whole)
    publish_one(files, content)
    return len(files.calls)


def cuts(whole: bool) -> Iterator[tuple[int, bool]]:
    return ((number, during) for number in range(total_calls(whole)) for during in (False, True))


@either_way
def test_every_copy_is_whole_in_new_and_nothing_stays_in_tmp(whole: bool) -> None:
    files, content = new_files(whole)
    publish_one(files, content)
    assert visible(files) == WHOLE
    assert staged(files) == []
    assert files.descriptors == ["/mail/ann/tmp"]  # the body's own


@either_way
@pytest.mark.parametrize("survival", Survival)
def test_what_was_published_survives_a_power_cut(whole: bool, survival: Survival) -> None:
    files, content = new_files(whole)
    publish_one(files, content)
    assert visible(files.restarted(survival)) == WHOLE


@either_way
@pytest.mark.parametrize("survival", Survival)
def test_a_power_cut_at_any_call_leaves_nothing_torn_and_loses_nothing_that_was_said_to_be_there(
    whole: bool,
    survival: Survival,
) -> None:
    for number, during in cuts(whole):
        files, content = new_files(whole)
        files.cut_power(number, during=during)
        with pytest.raises(PowerCut):
            publish_one(files, content)
        after = files.restarted(survival)
        assert visible(after).items() <= WHOLE.items(), (number, during)
        prepare(after, *MAILBOXES)
        prepare(after, *MAILBOXES, now=1e9)
        assert staged(after) == []


@either_way
def test_a_process_killed_at_any_call_leaves_nothing_torn(whole: bool) -> None:
    for number, during in cuts(whole):
        files, content = new_files(whole)
        files.cut_power(number, during=during)
        with pytest.raises(PowerCut):
            publish_one(files, content)
        files.process_restarted()
        assert visible(files).items() <= WHOLE.items(), (number, during)


@either_way
@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StorageFull), (errno.EROFS, MailboxUnwritable), (errno.EIO, StorageFailed)]
)
def test_an_error_at_any_call_undoes_everything_or_does_not_matter(whole: bool, code: int, kind: type) -> None:
    outcomes = set()
    for number in range(total_calls(whole)):
        files, content = new_files(whole)
        files.fail_next(number, code)
        try:
            publish_one(files, content)
        except StorageFull as error:
            failure: Exception | None = error
        except StorageFailed as error:
            failure = error
        else:
            failure = None
        outcomes.add(type(failure))
        assert files.descriptors == ["/mail/ann/tmp"]
        assert visible(files) == ({} if failure else WHOLE)
        assert len(staged(files)) <= (0 if failure else 1)  # only removing a name in tmp may fail without harm
        for survival in Survival:
            after = visible(files.restarted(survival))
            assert after.items() <= WHOLE.items()
            assert failure or after == WHOLE
    assert outcomes == {kind, type(None)}


@either_way
def test_a_power_cut_after_an_error_leaves_nothing_torn(whole: bool) -> None:
    for failing in range(total_calls(whole)):
        for later in range(1, 10):
            files, content = new_files(whole)
            files.fail_next(failing, errno.EIO)
            files.cut_power(failing + later)
            with suppress(PowerCut, StorageFailed):
                publish_one(files, content)
            for survival in Survival:
                assert visible(files.restarted(survival)).items() <= WHOLE.items(), (failing, later, survival)


@pytest.mark.parametrize("number", [0, 1])
def test_a_failed_sync_of_all_is_everybodys_and_never_tried_again(number: int) -> None:
    files, content = new_files(whole=True)
    message, other = Publication(files, ENTRIES[:2], content), Publication(files, ENTRIES[2:], content)
    steps = [position for position, name in enumerate(calls_of(message, other)) if name == "sync_file_system"]
    files, content = new_files(whole=True)
    message, other = Publication(files, ENTRIES[:2], content), Publication(files, ENTRIES[2:], content)
    files.fail_next(steps[number], errno.EIO)
    publish(files, [message, other])
    assert [type(message.error), type(other.error)] == [StorageFailed, StorageFailed]
    assert [call.name for call in files.calls].count("sync_file_system") == number + 1
    assert (visible(files), staged(files)) == ({}, [])


def calls_of(*messages: Publication) -> list[str]:
    """What is called to publish them."""
    files = messages[0]._files
    assert isinstance(files, MemoryFiles)
    publish(files, messages)
    return [call.name for call in files.calls]


def test_a_file_system_that_has_given_up_is_not_believed() -> None:
    files, content = new_files(whole=True)
    files.fail(errno.EROFS, "fsync", "/new")
    with pytest.raises(MailboxUnwritable):
        publish_one(files, content)
    assert visible(files) == {}


def test_what_fails_for_one_message_leaves_the_others_that_are_synced_with_it() -> None:
    files, content = new_files(whole=True)
    files.fail(errno.EACCES, "open_new", "/mail/bob/tmp")
    messages = [Publication(files, [entry], content) for entry in ENTRIES]
    publish(files, messages)
    assert [type(message.error) for message in messages] == [type(None), MailboxUnwritable, type(None), type(None)]
    assert visible(files) == {path: octets for path, octets in WHOLE.items() if "/bob/" not in path}


def test_many_copies_are_written_synced_together_linked_and_synced_together() -> None:
    files, content = new_files(whole=True)
    publish_one(files, content)
    names = [call.name for call in files.calls if call.name not in ("read_at", "write", "close")]
    assert names == [
        *("open_directory", *["open_new"] * len(ENTRIES), "sync_file_system"),
        *(*["link"] * len(ENTRIES), "sync_file_system", "fsync", *["unlink"] * len(ENTRIES)),
    ]


def test_a_few_copies_are_synced_one_by_one_though_all_could_be() -> None:
    files, content = new_files(whole=True)
    publish_one(files, content, ENTRIES[: TOGETHER - 1])
    assert "sync_file_system" not in [call.name for call in files.calls]
    assert [call.name for call in files.calls].count("fsync") == TOGETHER - 1


def test_where_the_directory_cannot_be_opened_each_copy_is_synced() -> None:
    files, content = new_files(whole=True)
    files.fail(errno.EMFILE, "open_directory")
    publish_one(files, content)
    assert visible(files.restarted(Survival.NOTHING)) == WHOLE


@pytest.mark.parametrize("call", ["fsync", "fsync_directory"])
def test_a_failed_fsync_is_never_tried_again(call: str) -> None:
    files, content = new_files()
    files.fail(errno.EIO, call, "/mail/bob")
    with pytest.raises(StorageFailed, match="Input/output error"):
        publish_one(files, content)
    assert sum(made.name == call and "/mail/bob" in made.path for made in files.calls) == 1
    assert visible(files) == {}


def test_the_mailbox_at_fault_is_named() -> None:
    for call, path in (("open_new", "/mail/bob/tmp"), ("link", "/mail/bob/new"), ("fsync_directory", "/mail/bob/new")):
        files, content = new_files()
        files.fail(errno.EACCES, call, path)
        with pytest.raises(MailboxUnwritable) as caught:
            publish_one(files, content)
        assert caught.value.mailbox == BOB


@pytest.mark.parametrize("directory", ["tmp", "new"])
def test_a_name_that_is_taken_is_never_overwritten_nor_removed(directory: str) -> None:
    files, content = new_files()
    taken = f"/mail/bob/{directory}/2"
    fd = files.open_new(taken)
    files.write(fd, b"another's")
    files.close(fd)
    with pytest.raises(StorageFailed, match="File exists"):
        publish_one(files, content)
    assert files.content(taken) == b"another's"
    assert {**visible(files), taken: b""} == {taken: b""}


def test_each_directory_is_synced_once_after_the_last_link_and_before_any_name_in_tmp_goes() -> None:
    files, content = new_files()
    publish_one(files, content)
    names = [call.name for call in files.calls]
    synced = [call.path for call in files.calls if call.name == "fsync_directory"]
    assert synced == ["/mail/ann/new", "/mail/bob/new", "/mail/cat/new"]
    assert names[-len(synced) - 2 * len(ENTRIES) :] == (
        ["link"] * len(ENTRIES) + ["fsync_directory"] * len(synced) + ["unlink"] * len(ENTRIES)
    )


def test_a_small_copy_costs_no_needless_call() -> None:
    files = memory_maildirs(ANN)
    files.calls.clear()
    publish_one(files, StagedContent(files, None, 0, BODY), ENTRIES[:1])
    assert [call.name for call in files.calls] == [
        *("open_new", "write", "fsync", "close"),
        *("link", "fsync_directory", "unlink"),
    ]


def test_a_message_without_content_still_has_its_header() -> None:
    files = memory_maildirs(*MAILBOXES)
    publish_one(files, StagedContent(files, None, 0, b""), ENTRIES[:1])
    assert visible(files) == {"/mail/ann/new/1": b"Delivered-To: 1\n"}
