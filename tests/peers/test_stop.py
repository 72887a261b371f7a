"""How a real server ends: gracefully on SIGTERM and SIGINT, and not at all on SIGHUP, which is a reload."""

from __future__ import annotations

import signal
import smtplib
from pathlib import Path

import pytest

from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, Server

MAIL = "MAIL FROM:<ann@example.org>"
RCPT = "RCPT TO:<user1@hostmeister.de>"


def connect(server: Server) -> smtplib.SMTP:
    client = smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE)
    client.ehlo("client.example.org")
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_exit_status_0(start_server: StartServer, number: signal.Signals) -> None:
    server = start_server()
    server.wait_for("listening")
    server.signal(number)
    assert server.wait() == 0
    assert server.events("stopped")
    assert "Traceback" not in server.output + server.errors


def test_an_idle_peer_gets_421(start_server: StartServer) -> None:
    server = start_server()
    idle = connect(server)
    server.signal(signal.SIGTERM)
    assert idle.getreply()[0] == 421
    assert idle.sock is not None
    assert idle.sock.recv(1) == b""
    assert server.wait() == 0


def test_a_transaction_begun_may_finish_and_the_next_may_not_begin(start_server: StartServer) -> None:
    server = start_server()
    busy = connect(server)
    assert busy.docmd(MAIL)[0] == 250
    server.signal(signal.SIGTERM)
    server.wait_for("stopping")
    assert busy.docmd(RCPT)[0] == 250
    assert busy.data("Subject: in time\r\n\r\nIt was accepted.\r\n")[0] == 250
    assert busy.docmd(MAIL)[0] == 421
    assert server.wait() == 0
    assert len(new(server.mailboxes / "user1")) == 1


def test_nobody_new_is_served_while_it_stops(start_server: StartServer) -> None:
    server = start_server()
    busy = connect(server)
    busy.docmd(MAIL)
    server.signal(signal.SIGTERM)
    server.wait_for("stopping")
    with pytest.raises(OSError, match=r"."):  # refused, or reset if it was just in time
        smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE)
    busy.docmd("QUIT")
    assert server.wait() == 0


def test_a_transaction_that_never_ends_is_given_up_after_the_stop_time(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "mailagent.toml").write_text('[limits]\nstop_time = "1 s"\n')
    server = start_server("--host", "hostmeister.de", "--user", "user1")
    stuck = connect(server)
    assert stuck.docmd(MAIL)[0] == 250
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_second_signal_does_not_wait_for_a_transaction(start_server: StartServer) -> None:
    server = start_server()
    stuck = connect(server)
    assert stuck.docmd(MAIL)[0] == 250
    server.signal(signal.SIGTERM)
    server.wait_for("stopping")
    server.signal(signal.SIGTERM)
    assert stuck.getreply()[0] == 421
    assert server.wait() == 0


def test_sighup_does_not_kill_it(server: Server) -> None:
    server.signal(signal.SIGHUP)
    with connect(server) as client:
        assert client.sendmail("ann@example.org", ["user1@hostmeister.de"], "Subject: alive\n\nyes\n") == {}
    assert len(new(server.mailboxes / "user1")) == 1
