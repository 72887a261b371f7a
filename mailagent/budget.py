"""One allowance of memory for what all sessions hold together."""

from __future__ import annotations

import sys

import attrs


@attrs.define(eq=False)
class Budget:
    """Counts the octets that all sessions hold in memory: input that waits, and content on its way to storage.

    It grants nothing and refuses nothing: who finds it C{exhausted} holds no more than it has. A session then stops
    reading its peer at the first octet it cannot carry out, and a message's content goes to its file as it comes, so
    what is held in excess is one read of each.

    @ivar limit: octets, of all processes together.
    @ivar shares: how many processes there are; one has its equal part of the limit.
    @ivar used: octets held now.
    """

    limit: int = sys.maxsize
    used: int = 0
    shares: int = attrs.field(default=1, kw_only=True)

    def change(self, octets: int) -> None:
        """So many octets more are held, or fewer where negative."""
        self.used += octets

    @property
    def exhausted(self) -> bool:
        """Whether no more should be held."""
        return self.used > self.limit // self.shares
