"""What differs between two configurations, and what of it a running server can take up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from mailagent.config.problems import KeyPath, dotted
from mailagent.config.schema import Config, settings

#: What a reload takes up. Everything else waits for a restart, and so does what is in L{WAITING}.
LIVE = frozenset({"whitelist", "hosts", "tls", "limits", "queue", "relay", "routes"})
_HOSTS = ("whitelist", "hosts")
WAITING: frozenset[KeyPath] = frozenset({("queue", "url")})


@attrs.frozen
class Changes:
    """The step from one configuration to another.

    @ivar config: what can run now: the new settings as far as they are L{LIVE}, the others as they were.
    @ivar taken: the paths of the changed settings in it.
    @ivar waiting: the paths of those that wait for a restart.
    """

    config: Config
    taken: tuple[str, ...]
    waiting: tuple[str, ...]


def changes(old: Config, new: Config) -> Changes:
    """What a server that runs with C{old} can take up of C{new}."""
    differing = list(_differing(old, new, ()))
    kept = {field.name: getattr(old, field.name) for field in settings(Config) if field.name not in LIVE}
    kept["queue"] = attrs.evolve(new.queue, url=old.queue.url)
    live = [path for path in differing if path[0] in LIVE and path not in WAITING]
    if new.directory.source != old.directory.source:  # the hosts are of the new source, and wait with it
        kept |= {name: getattr(old, name) for name in _HOSTS}
        live = [path for path in live if path[0] not in _HOSTS]
    return Changes(
        config=attrs.evolve(new, **kept),
        taken=tuple(map(dotted, live)),
        waiting=tuple(dotted(path) for path in differing if path not in live),
    )


def _differing(old: Any, new: Any, path: KeyPath) -> Iterator[KeyPath]:
    """The paths of the settings that differ, as deep as both sides have the same tables."""
    if attrs.has(type(old)) and type(old) is type(new):
        for field in settings(type(old)):
            yield from _differing(getattr(old, field.name), getattr(new, field.name), (*path, field.name))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differing(old.get(key), new.get(key), (*path, key))
    elif old != new:
        yield path
