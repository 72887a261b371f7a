"""Two real servers behind a real HAProxy, set up as the example says."""

from __future__ import annotations

import re
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs
from tests.peers.server import DEADLINE, ROOT, TWISTD, Server, await_listener, free_port

pytestmark = pytest.mark.requires("haproxy")

_EXAMPLE = ROOT / "etc" / "examples" / "three-nodes" / "haproxy.cfg"
_CONFIG = """
whitelist = { hosts = ["hostmeister.de"], users = ["user1"] }
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
proxies = ["127.0.0.1"]
"""


def balancer(port: int, *nodes: int) -> str:
    """The example, listening at C{port} of loopback, before servers at other ports of it."""
    servers = "".join(f"    server mx{number} 127.0.0.1:{node}\n" for number, node in enumerate(nodes, 1))
    text, replaced = re.subn(r"(?:    server \S+ \S+\n)+", servers, _EXAMPLE.read_text())
    assert replaced == 1
    text = text.replace("bind :25\n", f"bind 127.0.0.1:{port}\n").replace("inter 5s", "inter 100ms")
    assert f"127.0.0.1:{port}\n" in text
    return text


class Site:
    """Two servers, and HAProxy before them."""

    def __init__(self, directory: Path) -> None:
        self.servers = []
        for name in ("mx1", "mx2"):
            home = directory / name
            home.mkdir()
            (home / "mailagent.toml").write_text(f'hostname = "{name}.example"\n{_CONFIG}')
            command = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
            self.servers.append(Server(command, home))
        self.port = free_port()
        file = directory / "haproxy.cfg"
        file.write_text(balancer(self.port, *(server.port for server in self.servers)))
        self.haproxy = subprocess.Popen([programs.path("haproxy"), "-db", "-f", str(file)], stderr=subprocess.PIPE)
        await_listener("127.0.0.1", self.port, lambda: self.haproxy.poll() is None)

    def greeted_by(self) -> tuple[str, int]:
        """Which server greets a client now, and the client's port."""
        with smtplib.SMTP(timeout=DEADLINE, source_address=("127.0.0.2", 0)) as client:
            code, banner = client.connect("127.0.0.1", self.port)
            assert code == 220
            assert client.sock is not None
            return banner.split()[0].decode(), client.sock.getsockname()[1]

    def end(self) -> None:
        self.haproxy.kill()
        self.haproxy.communicate(timeout=DEADLINE)
        for server in self.servers:
            server.end()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.end()


def test_the_server_knows_the_client_and_checks_are_no_errors(site: Site) -> None:
    name, port = site.greeted_by()
    server = site.servers[("mx1.example", "mx2.example").index(name)]
    client = f"127.0.0.2:{port}"
    server.wait_until(lambda: client in [event["peer"] for event in server.events("connected")], client)
    # The proxy itself comes as itself: these are its checks.
    server.wait_until(
        lambda: any(event["peer"].startswith("127.0.0.1:") for event in server.events("connected")), "check"
    )
    assert server.events("error") == []


def test_clients_go_on_while_a_server_is_killed(site: Site) -> None:
    assert {site.greeted_by()[0] for _ in range(8)} == {"mx1.example", "mx2.example"}
    site.servers[0].kill()
    assert {site.greeted_by()[0] for _ in range(8)} == {"mx2.example"}
