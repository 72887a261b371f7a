"""The server's name on the command line. Sessions with it are in C{tests/test_clienttap.py}."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.compose.server import Server


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("mx.example.org", Server("mx.example.org", 2525)),
        ("mx.example.org:25", Server("mx.example.org", 25)),
        ("192.0.2.1:587", Server("192.0.2.1", 587)),
        ("[2001:db8::1]", Server("2001:db8::1", 2525)),
        ("[2001:db8::1]:25", Server("2001:db8::1", 25)),
        ("2001:db8::1", Server("2001:db8::1", 2525)),
    ],
)
def test_a_server_is_a_host_with_or_without_a_port(text: str, server: Server) -> None:
    assert Server.parse(text) == server


@pytest.mark.parametrize("text", ["", ":25", "mx:", "mx:0", "mx:65536", "mx:smtp", "m x", "[::1", "[::1]25", "mx]:25"])
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST"):
        Server.parse(text)


@given(st.text())
def test_any_text_is_a_server_with_a_port_or_an_error(text: str) -> None:
    try:
        server = Server.parse(text)
    except ValueError:
        return
    assert server.host in text
    assert 0 < server.port < 65536
