"""A listening socket comes from systemd, and real mail through it."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs
from tests.peers.mail import NASTY, content, lines_crlf, new
from tests.peers.server import DEADLINE, TWISTD, Server, free_port

pytestmark = pytest.mark.requires("systemd-socket-activate")


class Activated:
    """Starts servers behind C{systemd-socket-activate}, which runs twistd at the first connection."""

    def __init__(self, directory: Path) -> None:
        self.servers: list[Server] = []
        self._directory = directory

    def start(self, host: str, domain: str, *options: str) -> tuple[Server, int]:
        """The server to be, and its port on C{host}."""
        port = free_port(host)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        activate = [programs.path("systemd-socket-activate"), "-l", address, "--fdname=smtp", "--setenv=PYTHONPATH"]
        twistd = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
        listen = ["--listen", f"systemd:domain={domain}:name=smtp", "--mailboxes", str(self._directory / "mailboxes")]
        server = Server([*activate, *twistd, *listen, *options], self._directory)
        self.servers.append(server)
        server.wait_for_error("Listening on")
        return server, port


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[Activated]:
    made = Activated(tmp_path)
    yield made
    for server in made.servers:
        server.end()


def deliver(host: str, port: int) -> None:
    with smtplib.SMTP(host, port, timeout=DEADLINE) as client:
        client.sendmail("ann@example.org", ["user1@hostmeister.de"], lines_crlf(NASTY), ["BODY=8BITMIME"])


def test_a_socket_is_taken_over_and_serves(activated: Activated) -> None:
    server, port = activated.start("127.0.0.1", "INET")
    deliver("127.0.0.1", port)
    (message,) = new(server.mailboxes / "user1")
    assert content(message, NASTY) == NASTY
    assert server.wait_for("listening")["address"] == f"127.0.0.1:{port}"
    server.stop()


def has_ipv6() -> bool:
    try:
        free_port("::1")
    except OSError:
        return False
    return True


def test_one_socket_serves_ipv6_and_ipv4_as_the_unit_has_it(activated: Activated) -> None:
    if not has_ipv6():
        programs.absent("IPv6 on loopback")
    server, port = activated.start("::", "INET6")
    deliver("::1", port)
    deliver("127.0.0.1", port)
    received = b"".join(re.findall(rb"^Received: from .*$", b"".join(new(server.mailboxes / "user1")), re.MULTILINE))
    assert b"([IPv6:::1])" in received
    assert b"([127.0.0.1])" in received, "a peer's IPv4 address is told as such, whatever the socket"
    server.stop()


def test_a_socket_is_shared_by_workers(activated: Activated) -> None:
    server, port = activated.start("127.0.0.1", "INET", "--workers", "2")
    for _ in range(4):
        deliver("127.0.0.1", port)
    assert len(new(server.mailboxes / "user1")) == 4
    assert {event["worker"] for event in server.events("message_stored")} <= {1, 2}
    server.stop()
