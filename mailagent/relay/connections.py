"""Sessions between two messages: kept for a few seconds, in case there is more for the same next hop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailagent.config.outbound import RelaySettings
from mailagent.smtp.sender import Sender

#: Seconds for which one is kept.
IDLE_TIME = 5.0
#: Seconds for which one is taken to live, so that it is not asked before each message.
FRESH = 1.0
#: So many are kept, over all next hops.
_MOST_IDLE = 200


class Connections:
    """Idle sessions, by what they were opened for (L{mailagent.relay.next_hop.NextHop.destination})."""

    def __init__(self, clock: IReactorTime, settings: Callable[[], RelaySettings]) -> None:
        self._clock = clock
        self._settings = settings
        self._idle: dict[Hashable, list[tuple[Sender, IDelayedCall]]] = defaultdict(list)
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        return self._count

    async def take(self, key: Hashable, domain: str) -> Sender | None:
        """One that lives, and takes a message for C{domain}; C{None} where there is none. It is the caller's now.

        One that was given a moment ago may have died since.
        """
        while (found := self._pick(key, domain)) is not None:
            sender, since = found
            if self._clock.seconds() - since < FRESH or await sender.reset():
                return sender
        return None

    def give(self, key: Hashable, sender: Sender) -> None:
        """Take one back, to keep it if it is still good for something."""
        used_up = not sender.idle_ok or sender.sent >= self._settings().messages_per_connection
        if used_up or self._closed or self._count >= _MOST_IDLE:
            self._quit(sender)
            return
        closing = self._clock.callLater(IDLE_TIME, self._close, key, sender)
        self._idle[key].append((sender, closing))
        self._count += 1

    def close(self) -> Deferred[list[None]]:
        """Close all, and keep none from now on; fires when they are closed, within seconds."""
        self._closed = True
        idle = [(key, sender) for key, kept in self._idle.items() for sender, _ in kept]
        return gatherResults([self._close(key, sender) for key, sender in idle])

    def _pick(self, key: Hashable, domain: str) -> tuple[Sender, float] | None:
        """A session, and since when it has been idle."""
        for sender, closing in reversed(self._idle.get(key, [])):  # the latest is the likeliest to live
            if not sender.idle_ok:
                self._close(key, sender)
            elif sender.takes(domain):
                self._remove(key, sender)
                return sender, closing.getTime() - IDLE_TIME
        return None

    def _remove(self, key: Hashable, sender: Sender) -> None:
        kept = self._idle.pop(key)
        for each, closing in kept:
            if each is sender and closing.active():
                closing.cancel()
        if others := [entry for entry in kept if entry[0] is not sender]:
            self._idle[key] = others
        self._count -= 1

    def _close(self, key: Hashable, sender: Sender) -> Deferred[None]:
        self._remove(key, sender)
        return self._quit(sender)

    @staticmethod
    def _quit(sender: Sender) -> Deferred[None]:
        return Deferred.fromCoroutine(sender.quit())
