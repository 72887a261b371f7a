"""Every conversation is held in lock-step, octet by octet, and in one segment: with the same result."""

from __future__ import annotations

import pytest

from tests.dialogues.play import Dialogue, dialogues, hold, hold_at_once

ALL = list(dialogues())
by_name = pytest.mark.parametrize("dialogue", ALL, ids=[dialogue.name for dialogue in ALL])


@by_name
def test_in_lock_step(dialogue: Dialogue) -> None:
    hold(dialogue, lambda said: [said])


@by_name
def test_octet_by_octet(dialogue: Dialogue) -> None:
    hold(dialogue, lambda said: [said[index : index + 1] for index in range(len(said))])


@by_name
def test_in_one_segment(dialogue: Dialogue) -> None:
    hold_at_once(dialogue)
