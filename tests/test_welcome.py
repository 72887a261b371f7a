"""What a person sees when the server is ready."""

from __future__ import annotations

import os
import sys

import attrs
import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from mailagent.config import Config, HostSettings, MailboxSettings, WhitelistSettings, load
from mailagent.config.schema import Listener
from mailagent.config.values import ConfiguredPath, Domain, Network, Role, UserName
from mailagent.directory.whitelist import Whitelist
from mailagent.welcome import address_text, lines
from tests.memory_server import make_config

LOCAL = [IPv4Address("TCP", "127.0.0.1", 2525)]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(sys, "argv", ["twistd"])
    return load(search=())


def told(config: Config, *addresses: IAddress) -> list[str]:
    return list(lines(config, list(Whitelist.from_config(config).mailboxes()), addresses or LOCAL))


def test_it_tells_whom_it_takes_mail_for_where_that_goes_and_how_to_try_it(config: Config) -> None:
    assert told(config) == [
        "configuration: built-in default",
        "takes mail for user1, user2 at hostmeister.de, hostgator.com",
        f"mail goes to {os.getcwd()}/mailboxes/<user>/new",
        "send one:  echo hello | twistd mailclient --to user1@hostmeister.de",
        "read it:   cat mailboxes/user1/new/*",
    ]


def test_the_commands_are_those_of_the_program_that_runs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [os.path.join(os.getcwd(), ".venv", "bin", "twistd")])
    assert "| .venv/bin/twistd mailclient" in told(config)[3]


def test_nothing_is_shown_to_read_where_all_mail_is_handed_over(config: Config) -> None:
    assert list(lines(config, [], LOCAL)) == told(config)[:2]


@pytest.mark.parametrize(
    ("address", "server"),
    [
        (IPv4Address("TCP", "127.0.0.1", 2626), "127.0.0.1:2626"),
        (IPv4Address("TCP", "0.0.0.0", 25), "127.0.0.1:25"),
        (IPv6Address("TCP", "::", 25), "[::1]:25"),
    ],
)
def test_the_client_is_told_where_the_server_is(config: Config, address: IAddress, server: str) -> None:
    assert f"mailclient --server {server} --to" in told(config, address)[3]


def test_a_local_socket_is_not_shown_to_the_client(config: Config) -> None:
    assert "mailclient --to" in told(config, UNIXAddress("/run/mail.sock"))[3]


def test_listeners_that_want_a_login_or_a_proxy_are_not_shown_to_the_client(config: Config) -> None:
    submission = Listener(role=Role("submission"))
    proxied = Listener(proxies=(Network("192.0.2.1"),))
    addresses = [IPv4Address("TCP", "127.0.0.1", port) for port in (587, 26, 25)]
    mixed = attrs.evolve(config, listen=(submission, proxied, Listener()))
    assert "mailclient --server 127.0.0.1:25 --to" in told(mixed, *addresses)[3]
    closed = attrs.evolve(config, listen=(submission, proxied))
    assert not any("send one" in line for line in told(closed, *addresses[:2]))


def test_paths_are_those_of_the_mailboxes_and_quoted_for_the_shell(config: Config) -> None:
    hosts = {Domain("Bücher.Example"): HostSettings(users=(UserName("ann b"),))}
    odd = attrs.evolve(
        config, whitelist=WhitelistSettings(), hosts=hosts, mailboxes=MailboxSettings(ConfiguredPath("/m"))
    )
    assert told(odd)[1:] == [
        "takes mail for ann b at Bücher.Example",
        "mail goes to /m/xn--bcher-kva.example/<user>/new",
        "send one:  echo hello | twistd mailclient --to '\"ann b\"@xn--bcher-kva.example'",
        "read it:   cat '/m/xn--bcher-kva.example/ann b'/new/*",
    ]


def test_hosts_with_users_of_their_own_are_told_apart() -> None:
    said = told(make_config())
    assert "takes mail for user1, user2 at hostmeister.de, hostgator.com" in said
    assert "takes mail for ann, bob, sales, abroad, team, owner-team at example.org" in said
    assert "mail goes to /mail/example.org/<user>/new" in said


def test_of_many_names_the_number_is_told(config: Config) -> None:
    users = tuple(UserName(f"u{number}") for number in range(1000))
    many = attrs.evolve(config, whitelist=WhitelistSettings(users=users, hosts=(Domain("a.example"),)))
    assert "takes mail for u0, u1, u2, u3, u4, u5, u6, u7 and 992 more at a.example" in told(many)


def test_addresses_are_written_as_people_write_them() -> None:
    assert address_text(IPv4Address("TCP", "127.0.0.1", 25)) == "127.0.0.1:25"
    assert address_text(IPv6Address("TCP", "::1", 25)) == "[::1]:25"
    assert address_text(UNIXAddress("/run/mail.sock")) == "/run/mail.sock"
