"""What a person sees when the server is ready."""

from __future__ import annotations

import os
import sys

import attrs
import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from mailagent.config import Config, WhitelistSettings, load
from mailagent.config.values import Domain, UserName
from mailagent.welcome import address_text, lines
from tests.memory_server import make_config

LOCAL = ["127.0.0.1:2525"]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(sys, "argv", ["twistd"])
    return load(search=())


def test_it_tells_whom_it_takes_mail_for_where_that_goes_and_how_to_try_it(config: Config) -> None:
    assert list(lines(config, LOCAL)) == [
        "configuration: built-in default",
        "takes mail for user1, user2 at hostmeister.de, hostgator.com",
        f"mail goes to {os.getcwd()}/mailboxes/<user>/new",
        "send one:  echo hello | twistd mailclient --to user1@hostmeister.de",
        "read it:   cat mailboxes/user1/new/*",
    ]


def test_the_commands_are_those_of_the_program_that_runs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [os.path.join(os.getcwd(), ".venv", "bin", "twistd")])
    assert "| .venv/bin/twistd mailclient" in list(lines(config, LOCAL))[3]


@pytest.mark.parametrize(
    ("address", "server"),
    [("127.0.0.1:2626", "127.0.0.1:2626"), ("0.0.0.0:25", "127.0.0.1:25"), ("[::1]:25", "[::1]:25")],
)
def test_the_client_is_told_where_the_server_is(config: Config, address: str, server: str) -> None:
    assert f"mailclient --server {server} --to" in list(lines(config, [address]))[3]


def test_hosts_with_users_of_their_own_are_told_apart() -> None:
    told = list(lines(make_config(), LOCAL))
    assert "takes mail for user1, user2 at hostmeister.de, hostgator.com" in told
    assert "takes mail for ann, bob, sales at example.org" in told
    assert "mail goes to /mail/example.org/<user>/new" in told


def test_of_many_names_the_number_is_told(config: Config) -> None:
    users = tuple(UserName(f"u{number}") for number in range(1000))
    many = attrs.evolve(config, whitelist=WhitelistSettings(users=users, hosts=(Domain("a.example"),)))
    assert "takes mail for u0, u1, u2, u3, u4, u5, u6, u7 and 992 more at a.example" in list(lines(many, LOCAL))


def test_addresses_are_written_as_people_write_them() -> None:
    assert address_text(IPv4Address("TCP", "127.0.0.1", 25)) == "127.0.0.1:25"
    assert address_text(IPv6Address("TCP", "::1", 25)) == "[::1]:25"
    assert address_text(UNIXAddress("/run/mail.sock")) == "/run/mail.sock"
