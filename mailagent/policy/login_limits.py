"""Failed logins cost time, and many of them close the door for a while: to a network, and to an account.

Failures are counted within a window, by the client's network (IPv4 /32, IPv6 /64) and by the name tried, whether
there is such a user or not. A network from which an account was logged into before is not shut out of that account
by what others do. The tables are bounded: what was touched longest ago is forgotten first.

On this machine a webmail or a proxy may stand for many people, so of its peers only the accounts are counted; apart
from the rest of the world, whose guesses would shut people out of their webmail else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from weakref import WeakValueDictionary

from twisted.internet.defer import DeferredLock

from mailagent.config import user_key
from mailagent.envelope.reply import Reply
from mailagent.smtp.peer import Peer

#: Entries in each table.
_ENTRIES = 10_000
#: The longest a failure costs, in seconds.
LONGEST_DELAY = 10.0

NETWORK_LIMITED = Reply(421, "4.7.0", "Too many failed logins from your network, try again later")
ACCOUNT_LIMITED = Reply(454, "4.7.0", "Too many failed logins, try again later")


class LoginLimits:
    """What has failed lately.

    @param failures: how many within the window are too many.
    @param window: seconds.
    @param delay: seconds that the first failure costs; each further one costs twice as much, up to
        L{LONGEST_DELAY}.
    @param seconds: tells the time, in seconds from some moment.
    """

    def __init__(self, failures: int, window: float, delay: float, seconds: Callable[[], float]) -> None:
        self._failures = failures
        self._window = window
        self._delay = delay
        self._seconds = seconds
        self._failed: OrderedDict[Hashable, list[float]] = OrderedDict()
        self._trusted: OrderedDict[Hashable, None] = OrderedDict()
        self._turns: WeakValueDictionary[Hashable, DeferredLock] = WeakValueDictionary()

    def turns(self, address: str, name: str) -> tuple[DeferredLock, ...]:
        """What an attempt must hold, in this order, from asking L{refusal} until its outcome is counted.

        One attempt at a time of a network, and at an account: guesses side by side would all be checked before the
        first is counted.
        """
        keys = (*_network(address), *_account(address, name))
        return tuple(self._turns.setdefault(key, DeferredLock()) for key in keys)

    def refusal(self, address: str, name: str) -> Reply | None:
        """The refusal that a login from C{address} as C{name} (C{""}: not known yet) meets unchecked, if any."""
        if self._too_many(_network(address)):
            return NETWORK_LIMITED
        if (_network(address), user_key(name)) not in self._trusted and self._too_many(_account(address, name)):
            return ACCOUNT_LIMITED
        return None

    def _too_many(self, keys: tuple[Hashable, ...]) -> bool:
        return any(self._count(key) >= self._failures for key in keys)

    def failed(self, address: str, name: str) -> float:
        """A login has failed. @return: the seconds to wait before saying so."""
        counts = [self._add(key) for key in (*_network(address), *_account(address, name))]
        return float(min(self._delay * 2 ** (min(max(counts, default=1), 32) - 1), LONGEST_DELAY))

    def succeeded(self, address: str, name: str) -> None:
        """A login has succeeded."""
        network = _network(address)
        if not network:
            return
        self._trusted[network, user_key(name)] = None
        self._trusted.move_to_end((network, user_key(name)))
        if len(self._trusted) > _ENTRIES:
            self._trusted.popitem(last=False)

    def _count(self, key: Hashable) -> int:
        since = self._seconds() - self._window
        return sum(moment > since for moment in self._failed.get(key, ()))

    def _add(self, key: Hashable) -> int:
        since = self._seconds() - self._window
        moments = [moment for moment in self._failed.get(key, ()) if moment > since]
        moments.append(self._seconds())
        self._failed[key] = moments[-self._failures :]
        self._failed.move_to_end(key)
        if len(self._failed) > 2 * _ENTRIES:
            self._failed.popitem(last=False)
        return len(moments)


def _network(address: str) -> tuple[Hashable, ...]:
    """What a client's network is counted by, if it is."""
    peer = Peer(address, 0)
    return () if peer.local else (("network", peer.network),)


def _account(address: str, name: str) -> tuple[Hashable, ...]:
    """What an account is counted by, if it is known."""
    return (("account", user_key(name), Peer(address, 0).local),) if name else ()
