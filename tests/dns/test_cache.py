"""The memory of answers."""

from __future__ import annotations

from twisted.internet.task import Clock

from mailagent.dns.cache import Cache


def test_a_value_is_known_for_its_time() -> None:
    clock = Clock()
    cache: Cache[str, int] = Cache(clock.seconds, 10)
    cache.put("a", 1, 5)
    clock.advance(4.9)
    assert cache.get("a") == 1
    clock.advance(0.1)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_no_more_is_kept_than_allowed_and_what_is_asked_for_stays() -> None:
    cache: Cache[str, int] = Cache(Clock().seconds, 2)
    cache.put("a", 1, 5)
    cache.put("b", 2, 5)
    cache.get("a")
    cache.put("c", 3, 5)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
