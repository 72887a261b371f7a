"""Which addresses are ours, or nobody's."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from mailagent.relay.ourselves import Ourselves, has_route, is_local, is_somebodys


def ourselves(*listening: tuple[str, int], local: tuple[str, ...] = ()) -> Ourselves:
    return Ourselves("mx.example.org", lambda: listening, local.__contains__)


def test_an_address_and_port_at_which_we_listen_is_ours() -> None:
    us = ourselves(("192.0.2.1", 25), ("127.0.0.1", 2525))
    assert us.are_at("192.0.2.1", 25)
    assert us.are_at("::ffff:192.0.2.1", 25)
    assert us.are_at("127.0.0.1", 2525)
    assert not us.are_at("192.0.2.1", 2525)
    assert not us.are_at("192.0.2.2", 25)


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_who_listens_everywhere_is_at_each_of_the_machines_addresses(everywhere: str) -> None:
    us = ourselves((everywhere, 25), local=("192.0.2.1", "2001:db8::1"))
    assert us.are_at("192.0.2.1", 25)
    assert us.are_at("2001:db8::1", 25)
    assert not us.are_at("192.0.2.2", 25)
    assert not us.are_at("192.0.2.1", 26)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_ours_at_port_25_alone(address: str) -> None:
    assert ourselves().are_at(address, 25)
    assert not ourselves().are_at(address, 2525)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0"])
def test_no_machine_is_at_these(address: str) -> None:
    assert not is_somebodys(address)
    assert is_somebodys("192.0.2.1")


def test_the_machine_knows_its_addresses_and_its_routes() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")
    assert has_route("127.0.0.1")


def test_a_family_that_the_machine_does_not_know_has_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr("socket.socket", refuse)
    assert not has_route("2001:db8::1")
    assert not is_local("2001:db8::1")
