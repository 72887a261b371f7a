"""The directory in the database, and a real server with two session processes that sees it change."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, LOOPBACK, Server
from tests.peers.test_submission import mailagent

PROCESSES = 3
CONFIGURATION = f"""
workers = 2
hostname = "mx.example.org"
state = "state"
[directory]
source = "database"
[auth]
plaintext_loopback = true
[[listen]]
endpoint = "{LOOPBACK}"
[[listen]]
endpoint = "{LOOPBACK}:backlog=20"
role = "submission"
"""


@pytest.fixture
def server(start_server: StartServer, tmp_path: Path) -> Server:
    (tmp_path / "mailagent.toml").write_text(CONFIGURATION)
    running = start_server(listen=None)
    running.wait_for_output('"worker_started"', 2)
    running.wait_for_output('"directory_read"', PROCESSES)
    running.wait_for_output('"listening"', 2)
    return running


def connect(server: Server, listener: int) -> smtplib.SMTP:
    port = int(server.events("listening")[listener]["address"].rpartition(":")[2])
    client = smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE)
    client.ehlo("client.example.org")
    return client


def change(server: Server, directory: Path, *words: str, password: str = "") -> None:
    """Change the directory, and see all processes take it up."""
    before = len(server.events("directory_read"))
    mailagent(directory, *words, password=password)
    server.wait_for_output('"directory_read"', before + PROCESSES)


def test_who_is_added_while_it_runs_gets_mail_and_can_log_in_and_who_is_removed_cannot(
    server: Server, tmp_path: Path
) -> None:
    with connect(server, 0) as client:
        client.mail("x@elsewhere.example")
        assert client.rcpt("ann@example.org")[0] == 451  # no host is there
        change(server, tmp_path, "host", "add", "example.org")
        assert client.rcpt("ann@example.org")[0] == 550
        change(server, tmp_path, "user", "add", "ann@example.org", password="secret\n")
        change(server, tmp_path, "alias", "add", "sales@example.org", "ann")
        assert client.rcpt("sales@example.org")[0] == 250
    with connect(server, 1) as client:
        client.login("ann@example.org", "secret")
        assert client.sendmail("ann@example.org", ["ann@example.org"], "Subject: mine\n\nhi\n") == {}
    assert len(new(server.mailboxes / "example.org" / "ann")) == 1
    change(server, tmp_path, "alias", "remove", "sales@example.org")
    change(server, tmp_path, "user", "remove", "ann@example.org")
    with connect(server, 1) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("ann@example.org", "secret")
    (error,) = server.events("error")
    assert "no host is in the directory" in error["message"]
    server.stop()
