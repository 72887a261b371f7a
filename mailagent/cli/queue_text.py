"""How the queue is shown: a table on a terminal, tab-separated text to a program, or JSON, one document a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

import attrs
import click

from mailagent.config.units import duration_text
from mailagent.envelope.printable import printable

#: Rows of a table on a terminal, where no limit is given: nobody reads more.
_SCREENFULS = 500
_MOMENTS = frozenset({"created", "due", "finished", "at", "until", "oldest", "started", "heartbeat"})

#: What is shown: names of columns to texts.
Row = Mapping[str, str]


def show_rows(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Rows on a terminal as a table, elsewhere each on a line, the columns tab-separated and without titles."""
    if not _is_terminal():
        for row in rows:
            click.echo("\t".join(printable(row[name]) for name in columns))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    pending = iter(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in islice(pending, _SCREENFULS):
        table.add_row(*(Text(printable(row[name])) for name in columns))
    Console().print(table)
    if next(pending, None) is not None:
        click.echo(f"more than {_SCREENFULS}: choose by options, or pipe this to a pager", err=True)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def show_json(values: Iterable[Mapping[str, object]]) -> None:
    """Each value as JSON on a line of its own."""
    for value in values:
        click.echo(json.dumps(value))


def plain(value: object) -> dict[str, object]:
    """An attrs value for JSON; moments (L{_MOMENTS}) in ISO 8601."""
    return attrs.asdict(value, value_serializer=_json_value)  # type: ignore[arg-type]


def _json_value(_: object, field: attrs.Attribute[object] | None, value: object) -> object:
    if field is not None and field.name in _MOMENTS:
        return None if value is None else moment(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def moment(value: object) -> str:
    """Seconds since the epoch as date and time, ISO 8601 in UTC; what is none, as it is."""
    try:
        return datetime.fromtimestamp(float(value), UTC).isoformat(timespec="seconds")  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError, OSError):
        return str(value)


def span(seconds: float) -> str:
    """A length of time, roughly: C{"3 h"}."""
    for unit in (86400, 3600, 60):
        if seconds >= unit:
            return duration_text(seconds // unit * unit)
    return f"{max(0, round(seconds))} s"


def lines(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Names and values, each on a line; those without a value are left out."""
    for name, value in pairs:
        if value not in (None, ""):
            yield f"{name}: {printable(str(value))}"
