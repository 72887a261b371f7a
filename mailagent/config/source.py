"""Where the configuration comes from: a file, what the command line says above it, or the built-in default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from mailagent.config import values
from mailagent.config.problems import ConfigError, KeyPath, Problem, dotted
from mailagent.config.schema import BUILT_IN, CertificateSettings, Config, MailboxSettings
from mailagent.config.structure import build
from mailagent.envelope.address import canonical_domain
from mailagent.envelope.printable import printable

_Certificate = TypeVar("_Certificate", bound=CertificateSettings)
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
    state: str | None = _option("--state", "state", default=None)
    workers: str | None = _option("--workers", "workers", default=None)

    def given(self) -> Iterator[tuple[str, KeyPath, object]]:
        """Each option that was given: its name, the path of the setting it replaces, and the value for there."""
        for field in attrs.fields(Overrides):
            value: object = getattr(self, field.name)
            if value is None or value == () or value == []:
                continue
            if field.name in ("mailboxes", "state"):
                value = os.path.abspath(str(value)) if value else ""
            elif field.name == "workers" and str(value).isdecimal():
                value = int(str(value))
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
    config = _resolve(config, base, state_given="state" in raw)
    return attrs.evolve(config, source=os.path.abspath(file) if file else BUILT_IN)


def _resolve(config: Config, base: str, state_given: bool) -> Config:
    """C{config} with every path absolute, relative ones from C{base}, and its host name in A-labels."""
    mailboxes = _absolute(base, config.mailboxes.path)
    state = config.state if state_given else _default_state(mailboxes)
    users = config.directory.users
    hosts = {host: _resolve_certificate(settings, base) for host, settings in config.tls.hosts.items()}
    return attrs.evolve(
        config,
        hostname=values.Domain(canonical_domain(config.hostname)),
        mailboxes=MailboxSettings(mailboxes),
        state=_absolute(base, state),
        tls=attrs.evolve(_resolve_certificate(config.tls, base), hosts=hosts),
        directory=attrs.evolve(config.directory, users=users and _absolute(base, users)),
        relay=attrs.evolve(config.relay, authorities=_maybe(base, config.relay.authorities)),
        routes={
            pattern: attrs.evolve(route, password_file=_maybe(base, route.password_file))
            for pattern, route in config.routes.items()
        },
    )


def _resolve_certificate(settings: _Certificate, base: str) -> _Certificate:
    certificate, key = (path and _absolute(base, path) for path in (settings.certificate, settings.key))
    return attrs.evolve(settings, certificate=certificate, key=key)


def _maybe(base: str, path: values.ConfiguredPath | None) -> values.ConfiguredPath | None:
    return path and _absolute(base, path)


def _absolute(base: str, path: str) -> values.ConfiguredPath:
    return values.ConfiguredPath(os.path.abspath(os.path.join(base, path)))


def _default_state(mailboxes: str) -> values.ConfiguredPath:
    """The directory systemd has made for us (the first, if there are several), else one beside the mailboxes."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return values.ConfiguredPath(given or os.path.join(os.path.dirname(mailboxes), "state"))


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


def _override(raw: dict[str, Any], overrides: Overrides) -> Mapping[KeyPath, str]:
    """Put what the command line says in its place; which paths now hold what which option said."""
    options: dict[KeyPath, str] = {}
    for option, path, value in overrides.given():
        table: Any = raw
        for key in path[:-1]:
            table = table.setdefault(key, {})
        if isinstance(table, dict):  # else the file is wrong there, and will be told so
            table[path[-1]] = value
            options[path] = option
    return options


def _line(problem: Problem, source: str, options: Mapping[KeyPath, str]) -> str:
    for length in range(1, len(problem.path) + 1):
        if option := options.get(problem.path[:length]):
            return f"{option}: {problem.message}"
    at = f"{dotted(problem.path)}: " if problem.path else ""
    return f"{printable(source)}: {at}{problem.message}"
