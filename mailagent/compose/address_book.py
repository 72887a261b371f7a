"""Whom this user has written to: offered again when recipients are asked for.

One address a line, with its name, the latest first, in a file of mode 0600. Only recipients that a server accepted a
message for come in, and at most L{MOST} stay. The file is a convenience: what is wrong with it is never an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import attrs

from mailagent.compose.correspondent import BadAddress, Correspondent, parse_correspondent
from mailagent.compose.draft_folder import state_of_user
from mailagent.envelope.address import Address

MOST = 500
_MAX_FILE = 256 * 1024  # octets


@attrs.frozen
class AddressBook:
    """The earlier recipients in the file C{path}."""

    path: Path

    @classmethod
    def of_user(cls, environment: Mapping[str, str]) -> AddressBook:
        """C{$XDG_STATE_HOME/mailagent/recipients} (C{~/.local/state} where that is unset)."""
        return cls(state_of_user(environment) / "recipients")

    def earlier(self) -> tuple[Correspondent, ...]:
        """Earlier recipients, the latest first."""
        try:
            with open(self.path, "rb") as file:
                lines = file.read(_MAX_FILE).decode("utf-8", "replace").splitlines()
        except OSError:
            return ()
        found = []
        for line in lines[:MOST]:
            with suppress(BadAddress):
                found.append(parse_correspondent(line))
        return tuple(found)

    def remember(self, accepted: Iterable[Correspondent]) -> None:
        """Put these first. The file is replaced as a whole, so that no reader ever finds half of it."""
        latest: dict[Address, Correspondent] = {}
        for who in (*accepted, *self.earlier()):
            latest.setdefault(who.address, who)
        lines = [str(who if _tellable(who) else who.address) for who in latest.values()]
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write("".join(f"{line}\n" for line in lines[:MOST]).encode("utf-8", "replace"))
                os.replace(fresh, self.path)
            except OSError:
                fresh.unlink(missing_ok=True)


def _tellable(who: Correspondent) -> bool:
    """Whether the name comes out of the file as it went in."""
    try:
        return bool(who.name) and who.name.isprintable() and parse_correspondent(str(who)) == who
    except BadAddress:
        return False
