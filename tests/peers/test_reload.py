"""SIGHUP to a real server: the configuration is read again, and nobody is dropped."""

from __future__ import annotations

import signal
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path

from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, LOOPBACK, Server, environment
from tests.peers.test_clients import run
from tests.smtp.certificates import write_pair

CONFIGURATION = """
whitelist = {{ hosts = ["hostmeister.de"], users = {users} }}
[[listen]]
endpoint = "{loopback}"
[tls]
certificate = "{directory}/localhost.pem"
key = "{directory}/localhost.key"
"""


def configure(directory: Path, users: str) -> None:
    (directory / "mailagent.toml").write_text(CONFIGURATION.format(users=users, loopback=LOOPBACK, directory=directory))


def connect(server: Server, ca: Path) -> smtplib.SMTP:
    """A session over TLS, with a server that shows this certificate."""
    client = smtplib.SMTP("localhost", server.port, timeout=DEADLINE)
    client.starttls(context=ssl.create_default_context(cafile=ca))
    return client


def test_whitelist_and_certificate_are_taken_up_during_a_session(start_server: StartServer, tmp_path: Path) -> None:
    configure(tmp_path, '["user1"]')
    write_pair(tmp_path, "localhost")
    certificate = tmp_path / "localhost.pem"
    server = start_server(listen="")
    with connect(server, certificate) as session:
        write_pair(tmp_path, "localhost")
        configure(tmp_path, '["user1", "zed"]')
        server.signal(signal.SIGHUP)
        assert server.wait_for("reloaded")["changed"] == ["whitelist.users"]
        assert server.events("certificate_renewed")
        session.sendmail("ann@example.org", ["zed@hostmeister.de"], "Subject: x\n\nhi\n")
        with connect(server, certificate) as another:
            assert another.noop()[0] == 250
    assert len(new(server.mailboxes / "zed")) == 1
    server.stop()


def test_the_command_finds_the_server_by_its_state_directory(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.wait_for("listening")
    command = [sys.executable, "-m", "mailagent", "reload", "--state", "state"]
    assert run(command, cwd=tmp_path) == f"told server {server.pid} to reload; its log says what changed\n"
    assert server.wait_for("reloaded")["changed"] == "nothing"
    server.kill()
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_wrong_file_is_told_and_changes_nothing(start_server: StartServer, tmp_path: Path) -> None:
    configure(tmp_path, '["user1"]')
    write_pair(tmp_path, "localhost")
    server = start_server(listen="")
    with connect(server, tmp_path / "localhost.pem") as session:
        configure(tmp_path, '["../user1", 3]')
        server.signal(signal.SIGHUP)
        assert "whitelist.users[0]" in server.wait_for("reload_refused")["reason"]
        session.sendmail("ann@example.org", ["user1@hostmeister.de"], "Subject: x\n\nhi\n")
    server.stop()
    assert len(server.events("reload_refused")) == 2
