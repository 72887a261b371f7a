"""What this machine and its user are called."""

from __future__ import annotations

import pytest

from mailagent.compose.this_host import host_name, user_at
from mailagent.envelope.address import Address


@pytest.mark.parametrize(
    ("short", "full", "name"),
    [
        ("mx.example.org", "localhost", "mx.example.org"),
        ("mx", "mx.example.org", "mx.example.org"),
        ("mx", "localhost", "mx"),
        ("mx", "mx", "mx"),
        ("localhost", "localhost.localdomain", ""),
        ("localhost.localdomain", "", ""),
        ("", "", ""),
        ("(none)", "(none)", ""),
        ("bad name", "[192.0.2.1]", ""),
    ],
)
def test_the_fullest_name_that_means_this_host_to_others(short: str, full: str, name: str) -> None:
    assert host_name(lambda: short, lambda: full) == name


def test_the_sender_is_the_user_at_this_host() -> None:
    sender = user_at("mx.example.org", lambda: "ann")
    assert sender is not None
    assert sender.address == Address("ann", "mx.example.org")


def nobody() -> str:
    raise KeyError("getpwuid(): uid not found: 4711")


def nameless() -> str:
    return "\xe4nn"


@pytest.mark.parametrize("user", [nobody, nameless])
def test_a_user_who_makes_no_address_is_no_sender(user: object) -> None:
    assert user_at("mx.example.org", user) is None  # type: ignore[arg-type]
