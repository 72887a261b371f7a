"""A missing program skips a test, and fails it where nothing may go untested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import programs


def test_a_missing_program_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILAGENT_REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no smtp-sauce"):
        programs.absent("smtp-sauce")


def test_a_missing_program_fails_the_test_where_peers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILAGENT_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match="no smtp-sauce"):
        programs.absent("smtp-sauce")


def test_a_program_is_found_by_name() -> None:
    assert programs.find("sh")
    assert programs.find("smtp-sauce") is None


def test_no_test_is_skipped_in_another_way() -> None:
    skips = re.compile(r"\b(?:skip|skipif|importorskip|skipTest|SkipTest)\(")
    root = Path(__file__).parent
    assert {str(path.relative_to(root)) for path in root.rglob("*.py") if skips.search(path.read_text())} == {
        "programs.py"
    }
