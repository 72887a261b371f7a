"""How many sessions there may be: in total, and of one client network.

A network is an IPv4 address or an IPv6 /64, which is what one client commands. Peers on this machine count in total
only: all local users, and what forwards to us from here, share one address. Where the system tells which user it is, on
the local socket, each user counts as a network: none can take all there is.

A session whose client has hung up still counts while there is something pending of it, such as a message that waits for
the disk: what waits is bounded by these numbers.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import attrs

from mailagent.config import Limits
from mailagent.envelope.reply import Reply
from mailagent.smtp.peer import Peer

TOO_MANY_SESSIONS = Reply(421, "4.3.2", "Too many sessions, try again later")
TOO_MANY_OF_YOURS = Reply(421, "4.7.0", "Too many sessions from your network, try again later")


class Admits(Protocol):
    """Counts who is in. Every peer for whom L{enter} gave C{None} must L{leave} once."""

    def enter(self, peer: Peer, limits: Limits) -> Reply | None:
        """Let C{peer} in.

        @return: C{None}, or the reply it is turned away with; then nothing was counted.
        """

    def leave(self, peer: Peer) -> None:
        """C{peer}'s session is over."""


@attrs.define(eq=False)
class Admission:
    """L{Admits} for one process."""

    _total: int = attrs.field(default=0, init=False)
    _networks: Counter[str] = attrs.field(factory=Counter, init=False)

    def enter(self, peer: Peer, limits: Limits) -> Reply | None:
        """See L{Admits}."""
        if self._total >= limits.sessions:
            return TOO_MANY_SESSIONS
        if is_counted(peer):
            if self._networks[peer.network] >= limits.sessions_per_network:
                return TOO_MANY_OF_YOURS
            self._networks[peer.network] += 1
        self._total += 1
        return None

    def leave(self, peer: Peer) -> None:
        """See L{Admits}."""
        self._total -= 1
        if is_counted(peer):
            self._networks[peer.network] -= 1
            if not self._networks[peer.network]:
                del self._networks[peer.network]


def is_counted(peer: Peer) -> bool:
    """Whether a peer's network has a number of its own."""
    return peer.user is not None or not peer.local
