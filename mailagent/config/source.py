"""Where the configuration comes from: a file, what the command line says above it, or the built-in default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from mailagent.config import values
from mailagent.config.problems import ConfigError, Path, Problem, dotted, printable
from mailagent.config.schema import BUILT_IN, Config, DirectorySettings, MailboxSettings
from mailagent.config.structure import build

#: Without a file named, the first of these that exists.
SEARCH = ("mailagent.toml", "/etc/mailagent/mailagent.toml")


def _option(name: str, *path: str, default: Any) -> Any:
    return attrs.field(default=default, metadata={"option": name, "path": path})


@attrs.frozen
class Overrides:
    """What the command line says. An option that is given replaces the whole setting at its path."""

    hosts: Sequence[str] = _option("--host", "whitelist", "hosts", default=())
    users: Sequence[str] = _option("--user", "whitelist", "users", default=())
    mailboxes: str | None = _option("--mailboxes", "mailboxes", "path", default=None)
    listen: Sequence[str] = _option("--listen", "listen", default=())
    hostname: str | None = _option("--hostname", "hostname", default=None)

    def given(self) -> Iterator[tuple[str, Path, object]]:
        """Each option that was given: its name, the path of the setting it replaces, and the value for there."""
        for field in attrs.fields(Overrides):
            value: object = getattr(self, field.name)
            if value is None or value == () or value == []:
                continue
            if field.name == "mailboxes":
                value = os.path.abspath(str(value)) if value else ""
            elif field.name == "listen":
                value = [{"endpoint": endpoint} for endpoint in self.listen]
            elif not isinstance(value, str):
                value = list(getattr(self, field.name))
            yield field.metadata["option"], field.metadata["path"], value


def load(path: str | None = None, overrides: Overrides | None = None, search: Sequence[str] = SEARCH) -> Config:
    """Read, override, and check.

    @param path: the file to read. C{None}: the first of C{search} that exists, else the built-in default.
    @raise ConfigError: the file cannot be read, is not TOML, or does not make a configuration.
    """
    file, raw = _read([path] if path is not None else search, must_exist=path is not None)
    options = _override(raw, overrides or Overrides())
    config, problems = build(raw)
    source = file or BUILT_IN
    if problems:
        raise ConfigError(_line(problem, source, options) for problem in problems)
    base = os.path.dirname(file) if file else ""
    mailboxes = MailboxSettings(_absolute(base, config.mailboxes.path))
    users = config.directory.users
    directory = DirectorySettings(_absolute(base, users) if users else None)
    source = os.path.abspath(file) if file else BUILT_IN
    return attrs.evolve(config, source=source, mailboxes=mailboxes, directory=directory)


def _absolute(base: str, path: values.Path) -> values.Path:
    return values.Path(os.path.abspath(os.path.join(base, path)))


def built_in() -> dict[str, Any]:
    """What runs when nothing is configured."""
    return {"whitelist": {"hosts": ["hostmeister.de", "hostgator.com"], "users": ["user1", "user2"]}}


def _read(candidates: Sequence[str], must_exist: bool) -> tuple[str | None, dict[str, Any]]:
    """The first candidate that exists and its tables, or C{None} and the built-in default."""
    for path in candidates:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except FileNotFoundError as error:
            if must_exist:
                raise ConfigError([f"{printable(path)}: {error.strerror}"]) from None
        except (OSError, ValueError) as error:
            raise ConfigError([f"{printable(path)}: {getattr(error, 'strerror', None) or error}"]) from None
        else:
            return path, _parse(path, content)
    return None, built_in()


def _parse(path: str, content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"not UTF-8 (at line {line})"
    except (ValueError, RecursionError) as error:
        reason = _with_line(str(error), content)
    raise ConfigError([f"{printable(path)}: {printable(reason)}"])


def _with_line(reason: str, content: bytes) -> str:
    """tomllib's words, with a line where it says only that the file ended."""
    last = content.rstrip().count(b"\n") + 1
    return reason.replace("(at end of document)", f"(at line {last}, the end of the file)")


def _override(raw: dict[str, Any], overrides: Overrides) -> Mapping[Path, str]:
    """Put what the command line says in its place; which paths now hold what which option said."""
    options: dict[Path, str] = {}
    for option, path, value in overrides.given():
        table: Any = raw
        for key in path[:-1]:
            table = table.setdefault(key, {})
        if isinstance(table, dict):  # else the file is wrong there, and will be told so
            table[path[-1]] = value
            options[path] = option
    return options


def _line(problem: Problem, source: str, options: Mapping[Path, str]) -> str:
    for length in range(1, len(problem.path) + 1):
        if option := options.get(problem.path[:length]):
            return f"{option}: {problem.message}"
    at = f"{dotted(problem.path)}: " if problem.path else ""
    return f"{printable(source)}: {at}{problem.message}"
