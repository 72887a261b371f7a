"""What this machine and its user are called."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable

from mailagent.compose.correspondent import BadAddress, Correspondent, parse_correspondent
from mailagent.envelope.address import Address
from mailagent.smtp.grammar import SyntaxFault, parse_helo

_OURSELVES = re.compile(r"localhost\b|ip6-|\[|\Z", re.IGNORECASE)


def host_name(short: Callable[[], str] = socket.gethostname, full: Callable[[], str] = socket.getfqdn) -> str:
    """This host's name, the full one where it is known; C{""} if it has none that means this host to others too.

    May wait for the resolver: to be called before the reactor runs.
    """
    name = short()
    candidates = (name,) if "." in name else (full(), name)
    return next(filter(_is_name, candidates), "")


def _is_name(name: str) -> bool:
    try:
        return not _OURSELVES.match(parse_helo(name.encode()))
    except (SyntaxFault, UnicodeError):
        return False


def user_at(host: str, user: Callable[[], str] = getpass.getuser) -> Correspondent | None:
    """The user of this process as a sender, or C{None} where that makes no address."""
    try:
        sender = parse_correspondent(str(Address(user(), host)))
    except (BadAddress, KeyError, OSError):
        return None
    return sender if sender.address.local.isascii() else None  # few servers take another
