"""What the server says when it is ready: where it listens, whom it takes mail for, where that goes, how to try it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.logger import Logger

from mailagent import log as events
from mailagent.config import Config, HostSettings

#: Names listed in full; of more, the number is told.
_SHOWN = 8
_DEFAULT_PORT = 2525
_ANYWHERE = "0.0.0.0"  # noqa: S104


def announce(config: Config, ports: Sequence[IListeningPort], log: Logger) -> None:
    """Emit one event per listener and per fact a person at the terminal wants to know."""
    addresses = [address_text(port.getHost()) for port in ports]
    for address in addresses:
        events.LISTENING(log, address=address)
    for text in lines(config, addresses):
        events.NOTICE(log, text=text)


def address_text(address: IAddress) -> str:
    """A listening address as a person writes it: C{127.0.0.1:2525}, C{[::1]:25}, or a socket's path."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        name = getattr(address, "name", b"")
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def lines(config: Config, addresses: Sequence[str]) -> Iterator[str]:
    """The notices, one after the other."""
    yield f"configuration: {config.source}"
    tables = _tables(config)
    for hosts, settings, _ in tables:
        names = _listed([*settings.users, *settings.aliases])
        yield f"takes mail for {names} at {_listed(hosts)}"
    for _, _, directory in tables:
        yield f"mail goes to {os.path.join(directory, '<user>', 'new')}"
    hosts, settings, directory = tables[0]
    recipient, mailbox = f"{settings.users[0]}@{hosts[0]}", _shown_path(os.path.join(directory, settings.users[0]))
    yield f"send one:  echo hello | {_twistd()} mailclient{_server(addresses)} --to {recipient}"
    yield f"read it:   cat {mailbox}/new/*"


def _tables(config: Config) -> list[tuple[Sequence[str], HostSettings, str]]:
    """Each group of hosts with its users and the directory their mailboxes are in."""
    root = config.mailboxes.path
    tables: list[tuple[Sequence[str], HostSettings, str]] = []
    if config.whitelist.hosts and config.whitelist.users:
        tables.append((config.whitelist.hosts, config.whitelist, root))
    for host, settings in config.hosts.items():
        if settings.users:
            tables.append(([host], settings, os.path.join(root, host)))
    return tables


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _server(addresses: Sequence[str]) -> str:
    """The client's option for reaching us, where its default does not."""
    if not addresses or f"127.0.0.1:{_DEFAULT_PORT}" in addresses:
        return ""
    return f" --server {addresses[0].replace(_ANYWHERE, '127.0.0.1')}"


def _twistd() -> str:
    return _shown_path(os.path.abspath(sys.argv[0])) if os.sep in sys.argv[0] else "twistd"


def _shown_path(path: str) -> str:
    """A path the way a person here would type it: relative below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
