"""The file layer in memory: what a power cut leaves, and how calls fail."""

from __future__ import annotations

import errno

import pytest

from mailagent.maildir.memory import Call, MemoryFiles, PowerCut, Survival


@pytest.fixture
def files() -> MemoryFiles:
    files = MemoryFiles()
    files.make_directory("/d")
    files.fsync_directory("/")
    return files


def create(files: MemoryFiles, *, synced: bool, listed: bool) -> None:
    fd = files.open_new("/d/f")
    files.write(fd, b"12345678")
    if synced:
        files.fsync(fd)
    files.close(fd)
    if listed:
        files.fsync_directory("/d")


@pytest.mark.parametrize("survival", Survival)
def test_what_was_synced_survives(files: MemoryFiles, survival: Survival) -> None:
    create(files, synced=True, listed=True)
    assert files.restarted(survival).content("/d/f") == b"12345678"


def test_a_name_survives_only_when_its_directory_was_synced(files: MemoryFiles) -> None:
    create(files, synced=True, listed=False)
    assert files.restarted(Survival.NOTHING).names("/d") == []
    assert files.restarted(Survival.NAMES).content("/d/f") == b"12345678"


@pytest.mark.parametrize(
    ("survival", "content"),
    [(Survival.NOTHING, b""), (Survival.NAMES, b""), (Survival.TORN, b"1234"), (Survival.ALL, b"12345678")],
)
def test_content_that_was_not_synced_is_lost_or_torn(files: MemoryFiles, survival: Survival, content: bytes) -> None:
    create(files, synced=False, listed=True)
    assert files.restarted(survival).content("/d/f") == content


def test_what_was_synced_as_a_whole_survives(files: MemoryFiles) -> None:
    fd = files.open_directory("/d")
    create(files, synced=False, listed=False)
    files.sync_file_system(fd)
    assert files.restarted(Survival.NOTHING).content("/d/f") == b"12345678"


def test_what_was_written_before_a_sync_of_all_that_failed_is_lost_whatever_the_next_one_says(
    files: MemoryFiles,
) -> None:
    fd = files.open_directory("/d")
    create(files, synced=False, listed=True)
    files.fail(errno.EIO, "sync_file_system")
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_file_system(fd)
    files.heal()
    files.sync_file_system(fd)
    assert files.restarted(Survival.NOTHING).content("/d/f") == b""


def test_a_power_cut_during_a_sync_of_all_may_leave_some_of_it(files: MemoryFiles) -> None:
    for name in ("a", "b"):
        files.close(files.open_new(f"/d/{name}"))
    fd = files.open_directory("/d")
    files.cut_power(0, during=True)
    with pytest.raises(PowerCut):
        files.sync_file_system(fd)
    assert files.restarted(Survival.NOTHING).names("/d") == ["a"]


def test_a_removal_that_was_not_synced_is_forgotten(files: MemoryFiles) -> None:
    create(files, synced=True, listed=True)
    files.unlink("/d/f")
    assert files.restarted(Survival.NOTHING).names("/d") == ["f"]
    assert files.restarted(Survival.NAMES).names("/d") == []


def test_content_is_lost_after_a_failed_fsync_whatever_the_next_one_says(files: MemoryFiles) -> None:
    fd = files.open_new("/d/f")
    files.write(fd, b"text")
    files.fail_next(0, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        files.fsync(fd)
    files.fsync(fd)
    assert files.restarted(Survival.NAMES).content("/d/f") == b""


def test_the_power_goes_before_a_call(files: MemoryFiles) -> None:
    fd = files.open_new("/d/f")
    files.cut_power(1)
    files.write(fd, b"1234")
    with pytest.raises(PowerCut):
        files.write(fd, b"5678")
    assert files.content("/d/f") == b"1234"


def test_the_power_goes_during_a_write_and_tears_it(files: MemoryFiles) -> None:
    fd = files.open_new("/d/f")
    files.cut_power(0, during=True)
    with pytest.raises(PowerCut):
        files.write(fd, b"1234")
    assert files.content("/d/f") == b"12"


def test_the_power_goes_during_an_fsync_and_half_is_durable(files: MemoryFiles) -> None:
    fd = files.open_new("/d/f")
    files.write(fd, b"1234")
    files.fsync_directory("/d")
    files.cut_power(0, during=True)
    with pytest.raises(PowerCut):
        files.fsync(fd)
    assert files.restarted(Survival.NOTHING).content("/d/f") == b"12"


def test_the_power_goes_during_the_fsync_of_a_directory_and_half_its_names_are_durable(files: MemoryFiles) -> None:
    for name in "abcd":
        files.open_new(f"/d/{name}")
    files.cut_power(0, during=True)
    with pytest.raises(PowerCut):
        files.fsync_directory("/d")
    assert files.restarted(Survival.NOTHING).names("/d") == ["a", "c"]


def test_a_killed_process_leaves_files_as_they_are_and_no_descriptors(files: MemoryFiles) -> None:
    fd = files.open_new("/d/f")
    files.write(fd, b"1234")
    files.cut_power(0)
    with pytest.raises(PowerCut):
        files.fsync(fd)
    files.process_restarted()
    assert files.content("/d/f") == b"1234"
    assert files.descriptors == []
    assert files.restarted(Survival.NAMES).content("/d/f") == b""


def test_nothing_changes_any_more_without_power(files: MemoryFiles) -> None:
    create(files, synced=True, listed=True)
    files.cut_power(0)
    for _ in range(2):
        with pytest.raises(PowerCut):
            files.unlink("/d/f")
    assert files.names("/d") == ["f"]


def test_chosen_calls_fail_until_healed(files: MemoryFiles) -> None:
    files.fail(errno.ENOSPC, "open_new", "/d/")
    for _ in range(2):
        with pytest.raises(OSError, match="No space left") as caught:
            files.open_new("/d/f")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/d/f")
    files.open_new("/other")
    files.heal()
    files.open_new("/d/f")


def test_calls_and_open_files_are_recorded(files: MemoryFiles) -> None:
    files.calls.clear()
    fd = files.open_new("/d/f")
    assert files.descriptors == ["/d/f"]
    files.close(fd)
    assert files.descriptors == []
    assert files.calls == [Call("open_new", "/d/f"), Call("close", "/d/f")]
