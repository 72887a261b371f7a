"""Results in Markdown, in the history and on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.figures import Aim, Result, Row
from bench.report import BEGIN, END, between, keep, latest, section, table
from tests.peers.server import ROOT

WHERE: dict[str, Any] = {
    "date": "2026-11-23",
    "machine": "2 cores",
    "versions": {"mailagent": "0.1"},
    "arguments": "--rounds 1",
}


def test_a_table_has_every_column_once_and_a_dash_where_nothing_is() -> None:
    rows: list[Row] = [{"server": "ours", "rate": 2.5}, {"server": "theirs", "CPU": 0.5}]
    assert table(rows).splitlines() == [
        "| server | rate | CPU |",
        "| --- | --- | --- |",
        "| ours | 2.50 | - |",
        "| theirs | - | 0.500 |",
    ]


def test_a_section_says_what_was_wanted_and_where_it_was_measured() -> None:
    written = section(Result("idle", "Idle", [{"each": 9}], [Aim("each", 8, 9, at_least=False)], "A note."), WHERE)
    for part in (
        "### Idle\n",
        "missed by 12.5 %",
        "A note.",
        'make bench ARGS="--rounds 1"',
        "mailagent 0.1. 2 cores.",
    ):
        assert part in written


def test_of_each_work_the_last_result_counts_and_the_order_stays() -> None:
    results = [Result("a", "A", [{"x": 1}]), Result("b", "B", [{"x": 2}]), Result("a", "A", [{"x": 3}])]
    history = "\n".join(result.to_json(WHERE) for result in results)
    assert [result for result, _ in latest(history)] == [results[2], results[1]]


def test_what_is_outside_of_the_markers_stays() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert between(page, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert between(between(page, "new\n"), "newer") == between(page, "newer")


@pytest.mark.parametrize("page", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_the_markers_is_not_touched(page: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        between(page, "new")


def test_results_are_kept_in_the_history_and_on_the_page(tmp_path: Path) -> None:
    history, page = tmp_path / "history.jsonl", tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    for value in (1.0, 2.0):
        keep(Result("a", "A", [{"x": value}]), WHERE, history, page)
    assert len(history.read_text().splitlines()) == 2
    assert page.read_text().count("### A") == 1
    assert "| 2 |" in page.read_text()


def test_the_documentation_has_the_markers() -> None:
    assert between((ROOT / "docs/benchmarks.md").read_text("utf-8"), "new")
