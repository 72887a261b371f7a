"""When a deferred message is tried again, and when no more (RFC 5321 section 4.5.4.1)."""

from __future__ import annotations

#: By how much a wait may be shorter or longer, so that what was deferred together does not come back together.
JITTER = 0.1
#: The shortest wait, whatever the settings say: a loop without any would be all we do.
_LEAST = 1.0
#: Doubling ends somewhere, so that no number of attempts makes a number too large.
_MOST_DOUBLINGS = 40


def wait(attempts: int, first: float, most: float, chance: float) -> float:
    """Seconds until the next attempt.

    @param attempts: how many there were before the one that was just deferred.
    @param first: seconds after the first attempt; each further wait is twice as long.
    @param most: the longest wait, but for the jitter.
    @param chance: random, from 0 to 1.
    """
    doubled = max(first, _LEAST) * 2.0 ** min(attempts, _MOST_DOUBLINGS)
    return jittered(min(doubled, max(most, _LEAST)), chance)


def jittered(seconds: float, chance: float) -> float:
    """A wait, a little shorter or longer.

    @param chance: random, from 0 to 1.
    """
    return seconds * (1 - JITTER + 2 * JITTER * chance)


def expired(created: float, now: float, give_up: float) -> bool:
    """Whether a message has been tried for C{give_up} seconds, and is not tried any more."""
    return now - created >= give_up
