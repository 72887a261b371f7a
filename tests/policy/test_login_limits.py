"""Failed logins: what they cost, whom they shut out, and for how long."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from mailagent.policy import login_limits
from mailagent.policy.login_limits import ACCOUNT_LIMITED, LONGEST_DELAY, NETWORK_LIMITED, LoginLimits

HERE, THERE = "192.0.2.7", "198.51.100.9"


def limits(clock: Clock, failures: int = 3) -> LoginLimits:
    return LoginLimits(failures, window=600.0, delay=1.0, seconds=clock.seconds)


def test_each_failure_costs_twice_the_last_and_never_too_much() -> None:
    some = limits(Clock(), 100)
    assert [some.failed(HERE, "ann") for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, LONGEST_DELAY]
    assert [some.failed(HERE, "ann") for _ in range(95)][-1] == LONGEST_DELAY


def test_a_network_that_failed_too_often_is_shut_out_until_the_window_has_gone_by() -> None:
    clock = Clock()
    some = limits(clock)
    for name in ("a", "b", "c"):
        assert some.refusal(HERE, name) is None
        some.failed(HERE, name)
    assert some.refusal(HERE, "d") == NETWORK_LIMITED
    assert some.refusal(HERE, "") == NETWORK_LIMITED
    assert some.refusal(THERE, "d") is None
    clock.advance(600)
    assert some.refusal(HERE, "d") is None


def test_an_account_tried_from_many_networks_is_shut_however_it_is_spelled() -> None:
    some = limits(Clock())
    for last in range(3):
        some.failed(f"203.0.113.{last}", "Ann")
    assert some.refusal(HERE, "ann") == ACCOUNT_LIMITED
    assert some.refusal(HERE, "bob") is None


def test_who_logged_in_before_is_not_shut_out_by_others() -> None:
    some = limits(Clock())
    some.succeeded(HERE, "ann")
    for last in range(3):
        some.failed(f"203.0.113.{last}", "ann")
    assert some.refusal(HERE, "ann") is None
    assert some.refusal(THERE, "ann") == ACCOUNT_LIMITED
    for _ in range(3):
        some.failed(HERE, "ann")
    assert some.refusal(HERE, "ann") == NETWORK_LIMITED


def test_a_network_of_ipv6_is_a_64() -> None:
    some = limits(Clock())
    for last in range(3):
        some.failed(f"2001:db8::{last}", "")
    assert some.refusal("2001:db8::ffff%eth0", "") == NETWORK_LIMITED
    assert some.refusal("2001:db8:0:1::1", "") is None


@pytest.mark.parametrize("local", ["127.0.0.1", "127.9.9.9", "::1", ""])
def test_of_peers_on_this_machine_only_the_accounts_are_counted(local: str) -> None:
    """A webmail stands there for everybody, and everybody's mistakes are its own."""
    some = limits(Clock())
    for name in ("a", "b", "c", "d"):
        some.failed(local, name)
    some.failed(local, "")
    assert some.refusal(local, "") is None
    assert some.refusal(local, "ann") is None
    some.succeeded(local, "ann")
    assert [some.failed(local, "ann") for _ in range(3)] == [1.0, 2.0, 4.0]
    assert some.refusal(local, "ann") == ACCOUNT_LIMITED, "though people have logged in from there"
    assert some.refusal(local, "bob") is None


def test_guesses_from_elsewhere_shut_nobody_out_of_a_webmail_on_this_machine() -> None:
    some = limits(Clock())
    for last in range(3):
        some.failed(f"203.0.113.{last}", "ann")
    assert some.refusal(THERE, "ann") == ACCOUNT_LIMITED
    assert some.refusal("127.0.0.1", "ann") is None


def test_peers_on_this_machine_wait_for_each_other_only_at_the_same_account() -> None:
    some = limits(Clock())
    (ann,), (bob,) = some.turns("127.0.0.1", "ann"), some.turns("127.0.0.1", "bob")
    assert ann is not bob
    assert some.turns("::1", "Ann") == (ann,)
    assert some.turns(HERE, "ann")[0] is some.turns(HERE, "bob")[0]


def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_limits, "_ENTRIES", 2)
    some = limits(Clock(), 1)
    for last in range(9):
        some.failed(f"203.0.113.{last}", f"user{last}")
        some.succeeded(f"203.0.113.{last}", f"user{last}")
    assert (len(some._failed), len(some._trusted)) == (4, 2)
    assert some.refusal("203.0.113.0", "") is None
    assert some.refusal("203.0.113.8", "") == NETWORK_LIMITED
