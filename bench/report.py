"""Results as Markdown, in the history, and in docs/benchmarks.md: there always the last result of each work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Result, Row, number

#: Between these two lines the page is written by L{between}.
BEGIN = "<!-- measured: begin; written by `make bench`, edits are lost -->"
END = "<!-- measured: end -->"


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; its columns are those of all rows, in the order in which they come up."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([number(row.get(column)) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def section(result: Result, circumstances: Mapping[str, Any]) -> str:
    """One result, with its heading and where it comes from."""
    parts = [f"### {result.title}\n", table(result.rows)]
    if result.aims:
        parts.append("".join(f"- {aim.verdict}\n" for aim in result.aims))
    if result.note:
        parts.append(f"{result.note}\n")
    if circumstances:
        parts.append(f"{origin(circumstances)}\n")
    return "\n".join(parts)


def origin(circumstances: Mapping[str, Any]) -> str:
    """When and where, in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in circumstances["versions"].items())
    how = f'`make bench ARGS="{circumstances["arguments"]}"`' if circumstances["arguments"] else "`make bench`"
    return f"{circumstances['date']}, {how}, {versions}. {circumstances['machine']}."


def latest(history: str) -> list[tuple[Result, dict[str, Any]]]:
    """Of each work the last result, in the order in which the works were first measured."""
    found = {}
    for line in history.splitlines():
        result, circumstances = Result.from_json(line)
        found[result.work] = (result, circumstances)
    return list(found.values())


def between(page: str, written: str) -> str:
    """The page with what is between the two markers replaced.

    @raise ValueError: a marker is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r} after it")
    return f"{before}{BEGIN}\n\n{written.strip()}\n\n{END}{after}"


def keep(result: Result, circumstances: Mapping[str, Any], history: Path, page: Path) -> None:
    """Append a result to the history, and write the page anew from it."""
    with history.open("a", encoding="utf-8") as lines:
        lines.write(result.to_json(circumstances) + "\n")
    sections = (section(*each) for each in latest(history.read_text("utf-8")))
    page.write_text(between(page.read_text("utf-8"), "\n".join(sections)), "utf-8")
