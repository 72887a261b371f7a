"""Sessions counted by several processes together."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mailagent.config import Limits
from mailagent.config.values import Count
from mailagent.smtp.admission import TOO_MANY_OF_YOURS, TOO_MANY_SESSIONS
from mailagent.smtp.peer import Peer
from mailagent.workers.counts import Counts, SharedAdmission

LIMITS = Limits(sessions=Count(5), sessions_per_network=Count(2))
ANN, BOB, LOCAL = Peer("192.0.2.1", 1), Peer("2001:db8::1", 1), Peer("127.0.0.1", 1)


def two() -> tuple[Counts, SharedAdmission, SharedAdmission]:
    counts = Counts.make(3)
    return counts, SharedAdmission(counts, 1), SharedAdmission(Counts.of(os.dup(counts.fd)), 2)


def test_a_network_is_limited_over_all_processes() -> None:
    _, one, other = two()
    assert one.enter(ANN, LIMITS) is None
    assert other.enter(ANN, LIMITS) is None
    assert one.enter(ANN, LIMITS) == other.enter(ANN, LIMITS) == TOO_MANY_OF_YOURS
    assert one.enter(BOB, LIMITS) is None


def test_who_leaves_one_process_makes_room_at_the_other() -> None:
    _, one, other = two()
    for admission in (one, other):
        admission.enter(ANN, LIMITS)
    one.leave(ANN)
    assert other.enter(ANN, LIMITS) is None


def test_who_is_turned_away_is_not_counted() -> None:
    counts, one, other = two()
    for _ in range(10):
        one.enter(ANN, LIMITS)
    assert counts.sum(0) == 2
    one.leave(ANN)
    assert other.enter(ANN, LIMITS) is None


def test_all_sessions_are_limited_and_local_ones_in_total_only() -> None:
    _, one, other = two()
    assert [one.enter(LOCAL, LIMITS) or other.enter(BOB, LIMITS) for _ in range(2)] == [None, None]
    assert one.enter(LOCAL, LIMITS) is None
    assert other.enter(LOCAL, LIMITS) == one.enter(ANN, LIMITS) == TOO_MANY_SESSIONS


def test_a_process_that_ends_gives_back_what_it_held_and_no_more() -> None:
    counts, one, other = two()
    for admission in (one, other):
        assert admission.enter(ANN, LIMITS) is None
    counts.clear(1)
    assert counts.sum(0) == 1
    assert other.enter(ANN, LIMITS) is None
    assert other.enter(ANN, LIMITS) == TOO_MANY_OF_YOURS


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.booleans()), max_size=60))
def test_never_more_are_in_than_the_limits_allow(steps: list[tuple[int, int, bool]]) -> None:
    _, *processes = two()
    inside: list[tuple[int, Peer]] = []
    for which, network, comes in steps:
        peer = Peer(f"192.0.2.{network}", 1)
        if comes and processes[which].enter(peer, LIMITS) is None:
            inside.append((which, peer))
        elif not comes and inside:
            left, someone = inside.pop()
            processes[left].leave(someone)
        networks = Counter(peer.network for _, peer in inside)
        assert len(inside) <= LIMITS.sessions
        assert max(networks.values(), default=0) <= LIMITS.sessions_per_network
