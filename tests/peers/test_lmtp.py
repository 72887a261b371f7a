"""A real client hands mail over by LMTP, on a local socket."""

from __future__ import annotations

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
users = ["user1", "user2"]

[[listen]]
endpoint = "unix:lmtp.sock:mode=600"
role = "lmtp"
"""


@pytest.mark.requires("swaks")
def test_swaks_speaks_lmtp_on_a_local_socket(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "mailagent.toml").write_text(_CONFIG)
    server = start_server("--config", "mailagent.toml", listen=None)
    server.wait_for("listening")
    envelope = ["--from", "ann@example.org", "--to", "user1@hostmeister.de,user2@hostmeister.de", "--helo", "a.example"]
    done = subprocess.run(
        [programs.path("swaks"), "--protocol", "LMTP", "--socket", str(tmp_path / "lmtp.sock"), *envelope],
        capture_output=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(b"250 2.0.0 Stored as ") == 2
    for user in ("user1", "user2"):
        (message,) = new(server.mailboxes / user)
        assert b" with LMTP id " in message
    server.stop()
