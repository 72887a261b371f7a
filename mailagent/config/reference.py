"""The configuration reference, written from the schema: it cannot tell of a setting that is not there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

import attrs

from mailagent.config.schema import Config, settings
from mailagent.config.source import SEARCH, Overrides
from mailagent.config.values import KINDS, Targets

_OPENING = f"""\
# Configuration

<!-- Written by `python -m mailagent.config`. Change the schema in mailagent/config/schema.py, not this page. -->

One [TOML](https://toml.io) file. `--config FILE` names it; otherwise it is the first of
{" and ".join(f"`{path}`" for path in SEARCH)} that exists. Without any, the built-in default
takes mail for `user1` and `user2` at `hostmeister.de` and `hostgator.com`.

Every setting has a default, save that there must be somebody to receive mail: a `[whitelist]`, `[hosts]`, or both.
A mistake ends the start: all of them are listed at once, each with its path and what is allowed there.
Relative paths start at the directory of the file, or at the current one when there is no file.
[`etc/mailagent.toml`](../etc/mailagent.toml) is an example to copy.
"""

_OPTIONS = """\
## On the command line

An option replaces the setting in the file, and passes the same checks; a mistake in it is told by the option's name.
A relative `--mailboxes` or `--state` starts at the current directory.

| option | replaces |
|---|---|
"""


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_OPENING, _options(), *_sections(), _kinds()])


def _options() -> str:
    rows = []
    for field in attrs.fields(attrs.resolve_types(Overrides)):
        repeatable = "" if field.default is None else " (repeatable)"
        rows.append(f"| `{field.metadata['option']}`{repeatable} | `{'.'.join(field.metadata['path'])}` |")
    return _OPTIONS + "\n".join(rows) + "\n"


def _kinds() -> str:
    rows = [f"| {kind.name} | {kind.rule} |" for kind in KINDS.values()]
    return "## Kinds of values\n\n| kind | what is allowed |\n|---|---|\n" + "\n".join(rows) + "\n"


def _sections() -> Iterator[str]:
    top = [field for field in settings(Config) if field.type in KINDS]
    yield "## At the top\n\n" + _table(top, Config())
    yield from _tables(Config, "")


def _tables(cls: type[Any], prefix: str) -> Iterator[str]:
    """A section for every table in C{cls}, and for the tables in these."""
    for field in settings(cls):
        if (found := _heading(field, prefix)) is not None:
            heading, name, table = found
            rows = [row for row in settings(table) if _heading(row, "") is None]
            yield f"## `{heading}`\n\n{inspect.getdoc(table)}\n\n{_table(rows, table())}"
            yield from _tables(table, f"{name}.")


def _heading(field: attrs.Attribute[Any], prefix: str) -> tuple[str, str, Any] | None:
    """A table's heading as TOML has it, its dotted name, and the class that describes it; C{None} for a value."""
    arguments = get_args(field.type)
    name = prefix + field.name
    if get_origin(field.type) is Mapping and attrs.has(arguments[1]):
        return f'[{name}."example.org"]', f'{name}."example.org"', arguments[1]
    if get_origin(field.type) is tuple and attrs.has(arguments[0]):
        return f"[[{name}]]", name, arguments[0]
    if isinstance(field.type, type) and attrs.has(field.type):
        return f"[{name}]", name, field.type
    return None


def _table(fields: list[attrs.Attribute[Any]], defaults: Any) -> str:
    rows = [
        f"| `{field.name}` | {_allowed(field.type)} | {_default(field, getattr(defaults, field.name))} "
        f"| {field.metadata['doc']} |"
        for field in fields
    ]
    return "| setting | holds | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _allowed(target: Any) -> str:
    """What a setting of this type may hold."""
    arguments = get_args(target)
    if target is Targets:
        return "a user or an address, or a list of them"
    if get_origin(target) is tuple:
        return f"a list, each item {_allowed(arguments[0])}"
    if get_origin(target) is Mapping:
        return f"a table; each key {_allowed(arguments[0])}, each value {_allowed(arguments[1])}"
    if get_origin(target) is Union:
        return _allowed(arguments[0])
    return KINDS[target].name


def _default(field: attrs.Attribute[Any], value: Any) -> str:
    if field.metadata["shown"] is not None:
        return str(field.metadata["shown"])
    if field.type in KINDS:
        return f"`{KINDS[field.type].write(value)}`"
    return "none"
