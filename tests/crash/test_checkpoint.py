"""Power cuts at every write of the database's files, in the midst of a checkpoint above all: whatever has reached the
disk of what was not synced, the queue opens, and has what it took, whole."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random, SystemRandom

import pytest

from tests.crash.recording import Entry, File, Record
from tests.crash.test_queue import examine

SHORT_AND_LONG = pytest.mark.parametrize(
    ("runs", "steps", "most", "torn"),
    [(1, 12, 15, 1), pytest.param(1, 40, 1_000_000, 2, marks=pytest.mark.torture)],
)


@pytest.mark.requires("cc")
@SHORT_AND_LONG
@pytest.mark.timeout(3600)
def test_what_was_taken_is_there_after_a_power_cut_at_any_write(
    tmp_path: Path, runs: int, steps: int, most: int, torn: int
) -> None:
    seed = int(os.environ.get("SEED") or SystemRandom().randrange(2**32))
    print(f"SEED={seed}")
    for run in range(seed, seed + runs):
        random = Random(run)
        directory = tmp_path / str(run)
        directory.mkdir()
        record = Record.of(directory, run, steps)
        within, all_places = record.checkpoints, record.places
        places = {place for among in (within, all_places) for place in random.sample(among, min(most, len(among)))}
        assert within
        examined = 0
        for disk, cut in record.cuts(places, random, torn):
            examine(tmp_path / "found", disk, cut, record.sent)
            examined += 1
        print(
            f"{len(record.sent)} messages, {len(all_places)} writes and syncs, {len(within)} of them in checkpoints; "
            f"{examined} disks opened after cuts at {len(places)} of them"
        )


def test_what_was_not_synced_is_there_in_full_in_part_or_not_at_all() -> None:
    file = File()
    file.do(Entry("W", "f", 0, b"a" * 1024))
    file.do(Entry("S", "f", 0, b""))
    file.do(Entry("W", "f", 512, b"b" * 1024))
    assert file.left(None) == b"a" * 1024
    assert file.left(None, all_of_it=True) == b"a" * 512 + b"b" * 1024
    some = {file.left(Random(seed)) for seed in range(50)}
    assert some == {
        b"a" * 1024,
        b"a" * 512 + b"b" * 1024,
        b"a" * 512 + b"b" * 512,
        b"a" * 1024 + b"b" * 512,
    }


def test_a_truncated_file_is_shorter_or_longer_afterwards() -> None:
    file = File()
    file.do(Entry("W", "f", 0, b"abcdef"))
    file.do(Entry("T", "f", 2, b""))
    file.do(Entry("W", "f", 4, b"x"))
    assert file.left(None, all_of_it=True) == b"ab\0\0x"
