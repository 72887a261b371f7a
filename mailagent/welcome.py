"""What the server says when it is ready: where it listens, whom it takes mail for, where that goes, how to try it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.logger import Logger

from mailagent import log as events
from mailagent.config import Config, HostSettings
from mailagent.envelope.mailbox import Mailbox
from mailagent.smtp.role import MX

#: Names listed in full; of more, the number is told.
_SHOWN = 8
_CLIENTS_DEFAULT = "127.0.0.1:2525"
#: Where listeners on every address are reached from here.
_ANY_IPV4, _ANY_IPV6 = "0.0.0.0", "[::]"  # noqa: S104


def announce(config: Config, mailboxes: Sequence[Mailbox], ports: Sequence[IListeningPort], log: Logger) -> None:
    """Emit one event per listener and per fact a person at the terminal wants to know."""
    addresses = [port.getHost() for port in ports]
    for address in addresses:
        events.LISTENING(log, address=address_text(address))
    for text in lines(config, mailboxes, addresses):
        events.NOTICE(log, text=text)


def address_text(address: IAddress) -> str:
    """A listening address as a person writes it: C{127.0.0.1:2525}, C{[::1]:25}, or a socket's path."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        name = getattr(address, "name", b"")
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def lines(config: Config, mailboxes: Sequence[Mailbox], addresses: Sequence[IAddress]) -> Iterator[str]:
    """The notices, one after the other."""
    yield f"configuration: {config.source}"
    tables: list[tuple[Iterable[str], HostSettings]] = [(config.whitelist.hosts, config.whitelist)]
    tables += [([host], settings) for host, settings in config.hosts.items()]
    for hosts, settings in tables:
        if settings.users:
            yield f"takes mail for {_listed([*settings.users, *settings.aliases])} at {_listed(hosts)}"
    for directory in list(dict.fromkeys(os.path.dirname(mailbox.path) for mailbox in mailboxes))[:_SHOWN]:
        yield f"mail goes to {os.path.join(directory, '<user>', 'new')}"
    if not mailboxes:  # all hosts' mail is handed over by LMTP
        return
    first = mailboxes[0]
    if (server := _server(config, addresses)) is not None:
        yield f"send one:  echo hello | {_twistd()} mailclient{server} --to {shlex.quote(str(first.owner))}"
    yield f"read it:   cat {shlex.quote(_shown_path(first.path))}/new/*"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _server(config: Config, addresses: Sequence[IAddress]) -> str | None:
    """The client's option for reaching us, where its default does not or nothing is known that would.

    @param addresses: of the configuration's listeners, in their order.
    @return: C{None} where no listener takes mail from anybody who comes: a login needs more than an option.
    """
    open_to_all = [
        address
        for listener, address in zip(config.listen, addresses, strict=True)
        if listener.role == MX.name and not listener.proxies
    ]
    if not open_to_all:
        return None
    reachable = [address_text(address) for address in open_to_all if isinstance(address, IPv4Address | IPv6Address)]
    if not reachable or _CLIENTS_DEFAULT in reachable:
        return ""
    return f" --server {reachable[0].replace(_ANY_IPV4, '127.0.0.1').replace(_ANY_IPV6, '[::1]')}"


def _twistd() -> str:
    return shlex.quote(_shown_path(os.path.abspath(sys.argv[0]))) if os.sep in sys.argv[0] else "twistd"


def _shown_path(path: str) -> str:
    """A path the way a person here would type it: relative below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
