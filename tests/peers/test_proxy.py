"""A real server behind a proxy on loopback."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests import programs
from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE

_CONFIG = """
[whitelist]
hosts = ["hostmeister.de"]
users = ["user1"]

[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
{trust} = ["127.0.0.1"]
"""


def test_the_client_is_who_the_listed_proxy_says(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "mailagent.toml").write_text(_CONFIG.format(trust="proxies"))
    server = start_server("--config", "mailagent.toml", listen=None)
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall(b"PROXY TCP4 192.0.2.99 127.0.0.1 4711 25\r\n")
        assert connection.recv(4).startswith(b"220")
    assert server.wait_for("connected")["peer"] == "192.0.2.99:4711"
    server.stop()


@pytest.mark.requires("swaks")
def test_the_client_is_who_swaks_says_by_xclient(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "mailagent.toml").write_text(_CONFIG.format(trust="xclient"))
    server = start_server("--config", "mailagent.toml", listen=None)
    attributes = ["--xclient-addr", "192.0.2.99", "--xclient-name", "client.example", "--xclient-port", "4711"]
    attributes += ["--xclient-proto", "ESMTP", "--xclient-helo", "client.example"]
    address = f"127.0.0.1:{server.port}"
    envelope = ["--from", "ann@example.org", "--to", "user1@hostmeister.de", "--helo", "client.example"]
    done = subprocess.run(
        [programs.path("swaks"), "--server", address, *envelope, *attributes], capture_output=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stdout
    (message,) = new(server.mailboxes / "user1")
    assert re.search(rb"^Received: from client\.example \(\[192\.0\.2\.99\]\)", message, re.MULTILINE)
    assert server.wait_for("client_told")["peer"] == "192.0.2.99:4711"
    server.stop()
