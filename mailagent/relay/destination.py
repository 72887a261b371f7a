"""How much one destination gets from us at a time: a set of mail servers, however many domains they serve.

  - Connections: two at first, one more for each message it decided on, half as many after one that could not be made.
  - Messages per minute: never more than allowed in any 60 s.
  - After a failed connection nothing is tried for a minute; twice as long after each further one, at most an hour.

Whoever cannot go at once waits, but neither long nor in a long queue: L{DestinationBusy} then sends them away.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mailagent.config.outbound import RelaySettings
from mailagent.interfaces import DestinationBusy

_FIRST_WINDOW = 2
_FIRST_HOLD, _LONGEST_HOLD = 60.0, 3600.0
_MINUTE = 60.0
#: Seconds one waits for a connection to come free; who comes when this many wait already does not.
PATIENCE, _MOST_WAITING = 5.0, 50
#: When to come again, where no time is known at which there will be room: not before, nor much later, nor more of them
#: in a second. A thousand domains of one dead server would do nothing but come and go.
_AGAIN, _LATEST, _AT_ONCE = 2.0, 60.0, 100
#: So many destinations are remembered.
_REMEMBERED = 10_000


@attrs.define(eq=False)
class Destination:
    """One destination. Between L{enter} and L{leave} one attempt is under way."""

    _clock: IReactorTime
    _settings: Callable[[], RelaySettings]
    _window: int = attrs.field(default=_FIRST_WINDOW, init=False)
    _under_way: int = attrs.field(default=0, init=False)
    _waiting: deque[Deferred[None]] = attrs.field(factory=deque, init=False)
    _sent: deque[float] = attrs.field(factory=deque, init=False)
    _held_until: float = attrs.field(default=0.0, init=False)
    _next_hold: float = attrs.field(default=_FIRST_HOLD, init=False)
    _next_turn: float = attrs.field(default=0.0, init=False)

    @property
    def window(self) -> int:
        """Attempts that may be under way at the same time, now."""
        return min(self._window, self._settings().connections)

    @property
    def quiet(self) -> bool:
        """Whether nobody is there."""
        return not (self._under_way or self._waiting)

    def enter(self, urgent: bool = False) -> Deferred[None]:
        """Fires when an attempt may begin, at once or soon.

        @param urgent: whether it may although the destination is held.
        @return: fails with L{DestinationBusy}, and nothing has begun then. May be cancelled.
        """
        again = max(0.0 if urgent else self._hold_left(), self._minute_left())
        if again > 0:
            return fail(DestinationBusy(again))
        if self._under_way < self.window:
            self._begin()
            return succeed(None)
        if len(self._waiting) >= _MOST_WAITING:
            return fail(DestinationBusy(self._again()))
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting.addTimeout(PATIENCE, self._clock, lambda *_: Failure(DestinationBusy(self._again())))

    def leave(self) -> None:
        """The attempt is over."""
        self._under_way -= 1
        while self._waiting:
            again = max(self._hold_left(), self._minute_left())
            if again > 0:
                self._waiting.popleft().errback(DestinationBusy(again))
            elif self._under_way < self.window:
                self._begin()
                self._waiting.popleft().callback(None)
            else:
                break

    def did_well(self) -> None:
        """A server there has given its word on a message."""
        self._window = min(self._window + 1, self._settings().connections)
        self._next_hold = _FIRST_HOLD

    def failed(self) -> float:
        """None of its servers would talk with us. Hold it.

        Failures of attempts that were under way together count once.

        @return: for how many seconds.
        """
        self._window = max(1, self._window // 2)
        if self._hold_left() <= 0:
            self._held_until = self._clock.seconds() + self._next_hold
            self._next_hold = min(2 * self._next_hold, _LONGEST_HOLD)
        return self._hold_left()

    def _again(self) -> float:
        """In how many seconds one more is to come again."""
        now = self._clock.seconds()
        self._next_turn = min(max(self._next_turn + 1 / _AT_ONCE, now + _AGAIN), now + _LATEST)
        return self._next_turn - now

    def _begin(self) -> None:
        self._under_way += 1
        self._sent.append(self._clock.seconds())

    def _hold_left(self) -> float:
        return self._held_until - self._clock.seconds()

    def _minute_left(self) -> float:
        """Seconds until one more message may go."""
        self._forget_old()
        most = self._settings().messages_per_minute
        if most is None or len(self._sent) < most:
            return 0.0
        return self._sent[-most] + _MINUTE - self._clock.seconds()

    def _forget_old(self) -> None:
        if self._settings().messages_per_minute is None:
            self._sent.clear()
        while self._sent and self._sent[0] <= self._clock.seconds() - _MINUTE:
            self._sent.popleft()


class Destinations:
    """All destinations, by what tells one from another. Beyond a number the one not used for longest is forgotten, with
    its hold: that costs an attempt, not memory."""

    def __init__(self, clock: IReactorTime, settings: Callable[[], RelaySettings]) -> None:
        self._clock = clock
        self._settings = settings
        self._known: OrderedDict[Hashable, Destination] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def at(self, key: Hashable) -> Destination:
        """The destination of that name."""
        found = self._known.pop(key, None) or Destination(self._clock, self._settings)
        self._known[key] = found
        if len(self._known) > _REMEMBERED:
            oldest, destination = self._known.popitem(last=False)
            if not destination.quiet:  # these are no more than attempts
                self._known[oldest] = destination
        return found
