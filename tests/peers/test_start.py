"""A start that cannot succeed ends with one clear line on standard error, exit status 1 and no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.peers.conftest import StartServer
from tests.peers.server import Server


def assert_refused(server: Server, *clues: str) -> None:
    """It has not started, and its one line says why."""
    assert server.wait() == 1
    assert "Traceback" not in server.output + server.errors
    for clue in clues:
        assert clue in server.errors


def assert_one_line(server: Server) -> None:
    assert len(server.errors.splitlines()) == 1, server.errors


def test_every_mistake_in_the_configuration_is_told_with_its_path(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "mailagent.toml").write_text('hostnam = "mx"\n[limits]\nrecipients = "many"\n')
    assert_refused(start_server(), "mailagent.toml", "hostnam", "limits.recipients")


def test_an_occupied_port(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        server = start_server(listen=f"tcp:{port}:interface=127.0.0.1")
        assert_refused(server, str(port))
    assert_one_line(server)


def test_a_mailbox_that_cannot_be_made(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--mailboxes", "/proc/mailboxes", "--state", str(tmp_path / "state"))
    assert_refused(server, "/proc/mailboxes")
    assert_one_line(server)


def test_a_file_where_a_mailbox_should_be(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "mailboxes").mkdir()
    (tmp_path / "mailboxes" / "user1").write_text("not a directory")
    server = start_server()
    assert_refused(server, "user1")
    assert_one_line(server)


def test_an_endpoint_that_is_none(start_server: StartServer) -> None:
    server = start_server(listen="tcp:smtp:smtp:smtp")
    assert_refused(server, "tcp:smtp:smtp:smtp")
    assert_one_line(server)


def test_an_unknown_option(start_server: StartServer) -> None:
    server = start_server("--colour", "red")
    assert server.wait() == 1
    assert "colour" in server.errors + server.output
    assert "Traceback" not in server.output + server.errors
