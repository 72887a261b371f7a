"""Failed logins cost time, and many of them close the door for a while: to a network, and to an account.

Failures are counted within a window, by the client's network (IPv4 /32, IPv6 /64) and by the name tried, whether
there is such a user or not. A network from which an account was logged into before is not shut out of that account
by what others do. The tables are bounded: what was touched longest ago is forgotten first.
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

    def turns(self, address: str, name: str) -> tuple[DeferredLock, DeferredLock]:
        """What an attempt must hold, in this order, from asking L{refusal} until its outcome is counted.

        One attempt at a time of a network, and at an account: guesses side by side would all be checked before the
        first is counted.
        """
        network = self._turns.setdefault(("network", Peer(address, 0).network), DeferredLock())
        return network, self._turns.setdefault(("account", user_key(name)), DeferredLock())

    def refusal(self, address: str, name: str) -> Reply | None:
        """The refusal that a login from C{address} as C{name} (C{""}: not known yet) meets unchecked, if any."""
        network, account = Peer(address, 0).network, user_key(name)
        if self._count(("network", network)) >= self._failures:
            return NETWORK_LIMITED
        if (network, account) not in self._trusted and self._count(("account", account)) >= self._failures:
            return ACCOUNT_LIMITED
        return None

    def failed(self, address: str, name: str) -> float:
        """A login has failed. @return: the seconds to wait before saying so."""
        counts = [self._add(("network", Peer(address, 0).network))]
        if name:
            counts.append(self._add(("account", user_key(name))))
        return float(min(self._delay * 2 ** (min(max(counts), 32) - 1), LONGEST_DELAY))

    def succeeded(self, address: str, name: str) -> None:
        """A login has succeeded."""
        pair = Peer(address, 0).network, user_key(name)
        self._trusted[pair] = None
        self._trusted.move_to_end(pair)
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
