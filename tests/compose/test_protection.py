"""When TLS is used, and when a password may be sent."""

from __future__ import annotations

import pytest

from mailagent.compose.protection import default_port, is_loopback, protection


@pytest.mark.parametrize(
    ("host", "port", "login", "meant"),
    [
        ("127.0.0.1", 2525, False, "none"),
        ("localhost", 2525, False, "none"),
        ("::1", 2525, True, "starttls"),
        ("mx.example.org", 2525, False, "starttls"),
        ("mx.example.org", 587, True, "starttls"),
        ("mx.example.org", 465, False, "implicit"),
        ("127.0.0.1", 465, False, "implicit"),
    ],
)
def test_auto_protects_wherever_somebody_could_listen(host: str, port: int, login: bool, meant: str) -> None:
    assert protection("auto", host, port, login) == meant


@pytest.mark.parametrize("mode", ["starttls", "implicit", "none"])
def test_what_is_said_is_done(mode: str) -> None:
    assert protection(mode, "mx.example.org", 25, login=False) == mode
    assert protection(mode, "127.0.0.1", 25, login=True) == mode


def test_a_password_never_goes_over_a_network_in_the_clear() -> None:
    with pytest.raises(ValueError, match="never sent"):
        protection("none", "mx.example.org", 25, login=True)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'maybe'"):
        protection("maybe", "localhost", 25, login=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST."])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "localhost.example.org", "notlocalhost", "2001:db8::1", ""])
def test_nothing_else_is_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_the_port_goes_with_the_mode() -> None:
    assert [default_port(mode) for mode in ("auto", "starttls", "implicit", "none")] == [2525, 2525, 465, 2525]
