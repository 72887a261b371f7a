"""A real server behind a proxy on loopback."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.peers.conftest import StartServer
from tests.peers.server import DEADLINE

CONFIG = """
[whitelist]
hosts = ["hostmeister.de"]
users = ["user1"]

[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
proxies = ["127.0.0.1"]
"""


def test_the_client_is_who_the_listed_proxy_says(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "mailagent.toml").write_text(CONFIG)
    server = start_server("--config", "mailagent.toml", listen=None)
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall(b"PROXY TCP4 192.0.2.99 127.0.0.1 4711 25\r\n")
        assert connection.recv(4).startswith(b"220")
    assert server.wait_for("connected")["peer"] == "192.0.2.99:4711"
    server.stop()
