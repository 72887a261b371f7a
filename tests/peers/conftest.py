"""Real servers for the tests that talk to them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers.server import LOOPBACK, TWISTD, Server

#: Starts a server with further options, in the test's directory.
StartServer = Callable[..., Server]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start real servers; what the test leaves running is ended after it."""
    started: list[Server] = []

    def start(*options: str, listen: str | None = LOOPBACK, twistd: tuple[str, ...] = ("-n", "--pidfile=")) -> Server:
        command = [str(TWISTD), *twistd, "mailagent", "--log-format", "json"]
        command += ["--listen", listen] if listen else []
        server = Server([*command, "--mailboxes", str(tmp_path / "mailboxes"), *options], tmp_path)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


@pytest.fixture
def server(start_server: StartServer) -> Iterator[Server]:
    """A server on loopback with the built-in whitelist. It must end well when the test has passed."""
    running = start_server()
    running.wait_for("listening")
    yield running
    running.stop()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that everybody may enter, which pytest's own are not where it runs as root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
