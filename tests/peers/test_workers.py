"""A real server with two session processes: mail, limits, log, reload and stop as with one, and no end of it."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import smtplib
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, TWISTD, LogEvent, Server, free_port
from tests.peers.test_kill import ENOUGH, Load, marker_of, text
from tests.smtp.certificates import write_pair

CONFIGURATION = """
workers = 2
whitelist = {{ hosts = ["hostmeister.de"], users = {users} }}
relay = {{ networks = ["127.0.0.1"] }}
routes = {{ "*" = {{ to = "smtp:127.0.0.1:{nobody}" }} }}
limits = {{ sessions_per_network = 3 }}
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1:backlog=20"
proxies = ["127.0.0.1"]
"""
USER1 = "user1@hostmeister.de"


def configure(directory: Path, users: str = '["user1", "user2"]') -> None:
    (directory / "mailagent.toml").write_text(CONFIGURATION.format(users=users, nobody=free_port()))


@pytest.fixture
def server(start_server: StartServer, tmp_path: Path) -> Iterator[Server]:
    """Two processes serve. It must end well when the test has passed."""
    configure(tmp_path)
    running = start_server(listen=None)
    running.wait_for_output('"worker_started"', 2)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same for several tests. Its configuration is in the directory that its mailboxes are in."""
    directory = tmp_path_factory.mktemp("shared")
    configure(directory)
    running = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"], directory)
    try:
        running.wait_for_output('"worker_started"', 2)
        yield running
        running.stop()
    finally:
        running.end()


def workers(server: Server) -> dict[int, int]:
    """The processes that serve now, by the workers' numbers."""
    return {event["worker"]: event["pid"] for event in server.events("worker_started")}


def connect(server: Server) -> smtplib.SMTP:
    client = smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE)
    client.ehlo("client.example.org")
    return client


def proxied(server: Server, client: str) -> socket.socket:
    """A connection of somebody elsewhere."""
    server.wait_for_output('"listening"', 2)
    port = int(server.events("listening")[1]["address"].rpartition(":")[2])
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
    connection.sendall(f"PROXY TCP4 {client} 127.0.0.1 4711 25\r\n".encode())
    return connection


def banner(connection: socket.socket) -> bytes:
    return connection.recv(1000)[:9].rstrip()


def ended(server: Server, pid: int) -> LogEvent:
    """How a process has ended, once its successor serves."""
    before = len(server.events("worker_ended"))
    server.wait_for_output(f"(process {pid}) has ended")
    server.wait_for_output('"worker_started"', 2 + before)
    (event,) = [event for event in server.events("worker_ended") if event["pid"] == pid]
    server.wait_for_output('"worker_started"', 2 + len(server.events("worker_ended")))
    return event


def test_mail_is_stored_and_queued(shared: Server) -> None:
    large = text(4)
    with connect(shared) as client:
        assert client.sendmail("ann@example.org", ["user2@hostmeister.de", "bob@elsewhere.example"], large) == {}
        assert client.sendmail("ann@example.org", ["cat@other.example"], "Subject: x\n\nhi\n") == {}
    (stored,) = new(shared.mailboxes / "user2")
    assert marker_of(stored) == 4
    shared.wait_for_output('"destination_held"', 2)
    held = shared.events("destination_held")
    assert {event["destination"] for event in held} == {"elsewhere.example", "other.example"}
    assert {event["worker"] for event in shared.events("message_stored")} <= {1, 2}
    assert not any("worker" in event for event in held), "the queue is the owner's"


def test_a_killed_worker_is_replaced_and_has_kept_what_it_acknowledged(server: Server) -> None:
    markers = itertools.count()
    load = Load(server, markers)
    load.wait_for(ENOUGH)
    killed = workers(server)[1]
    os.kill(killed, signal.SIGKILL)
    assert ended(server, killed)["status"] == "signal 9"
    again = Load(server, markers)
    again.wait_for(ENOUGH)
    server.signal(signal.SIGTERM)
    load.join()
    again.join()
    assert server.wait() == 0
    found = [marker_of(message) for message in new(server.mailboxes / "user1")]
    assert len(found) == len(set(found))
    assert load.acknowledged | again.acknowledged <= set(found)


def test_workers_are_replaced_though_the_certificate_cannot_be_read_any_more(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "mx.example")
    configure(tmp_path)
    with (tmp_path / "mailagent.toml").open("a") as file:
        file.write(f'[tls]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n')
    server = Server([str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"], tmp_path)
    try:
        server.wait_for_output('"worker_started"', 2)
        os.rename(files.key, f"{files.key}.away")
        server.signal(signal.SIGHUP)
        server.wait_for_output('"reload_refused"')
        for pid in workers(server).values():
            os.kill(pid, signal.SIGKILL)
        server.wait_for_output('"worker_started"', 4)
        with connect(server) as client:
            assert client.starttls()[0] == 220
            assert client.sendmail("ann@example.org", [USER1], "Subject: x\n\nhi\n") == {}
        assert "PRIVATE KEY" not in "".join(server.lines)
        server.stop()
    finally:
        server.end()


_IMPATIENT = """
import sys
from mailagent.workers import supervisor
from twisted.scripts.twistd import run
supervisor.SILENCE = 3
sys.argv = ["twistd", "-n", "--pidfile=", "mailagent", "--log-format", "json"]
run()
"""


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    configure(tmp_path)
    server = Server([sys.executable, "-c", _IMPATIENT], tmp_path)
    try:
        server.wait_for_output('"worker_started"', 2)
        hanging = workers(server)[2]
        os.kill(hanging, signal.SIGSTOP)
        server.wait_for_output(f"(process {hanging}) has not been heard of for 3 s: killed")
        assert ended(server, hanging)["status"] == "signal 9"
        server.stop()
    finally:
        server.end()


def test_a_network_is_counted_over_all_workers_and_forgotten_with_one_that_ends(shared: Server) -> None:
    with ExitStack() as open_until_then:
        for _ in range(3):
            assert banner(open_until_then.enter_context(proxied(shared, "192.0.2.1"))).startswith(b"220")
        with proxied(shared, "192.0.2.1") as refused, proxied(shared, "192.0.2.2") as another:
            assert banner(refused) == b"421 4.7.0"
            assert banner(another).startswith(b"220")
        before = workers(shared).values()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        for pid in before:
            ended(shared, pid)
        with proxied(shared, "192.0.2.1") as welcome:
            assert banner(welcome).startswith(b"220")


def test_a_changed_configuration_is_taken_up_by_all(shared: Server) -> None:
    with ExitStack() as sessions:
        clients = [sessions.enter_context(connect(shared)) for _ in range(6)]
        assert {client.sendmail("ann@example.org", [USER1], "Subject: x\n\nhi\n") == {} for client in clients} == {True}
        configure(shared.mailboxes.parent, '["user1", "user2", "zed"]')
        shared.signal(signal.SIGHUP)
        assert "whitelist.users" in shared.wait_for("reloaded")["changed"]
        for client in clients:
            client.sendmail("ann@example.org", ["zed@hostmeister.de"], "Subject: x\n\nhi\n")
    assert len(new(shared.mailboxes / "zed")) == 6


def test_a_stop_lets_transactions_finish_and_a_second_signal_does_not(server: Server) -> None:
    idle, busy, stuck = (connect(server) for _ in range(3))
    for client in (busy, stuck):
        assert client.docmd("MAIL FROM:<ann@example.org>")[0] == 250
    server.signal(signal.SIGTERM)
    assert idle.getreply()[0] == 421
    assert busy.docmd(f"RCPT TO:<{USER1}>")[0] == 250
    assert busy.data("Subject: in time\r\n\r\nIt was accepted.\r\n")[0] == 250
    server.signal(signal.SIGTERM)
    assert stuck.getreply()[0] == 421
    assert server.wait() == 0
    assert not server.events("worker_ended")
    assert len(new(server.mailboxes / "user1")) == 1


def test_workers_end_with_their_owner_after_open_transactions(start_server: StartServer, tmp_path: Path) -> None:
    configure(tmp_path)
    server = start_server(listen=None)
    server.wait_for_output('"worker_started"', 2)
    processes = [os.pidfd_open(pid) for pid in workers(server).values()]
    busy = connect(server)
    assert busy.docmd("MAIL FROM:<ann@example.org>")[0] == 250
    server.kill()
    assert busy.docmd(f"RCPT TO:<{USER1}>")[0] == 250
    assert busy.data("Subject: alone\r\n\r\nLocal mail needs no owner.\r\n")[0] == 250
    assert busy.docmd("MAIL FROM:<ann@example.org>")[0] == 421
    for process in processes:
        assert select.select([process], [], [], DEADLINE)[0], "a worker has outlived its owner"
        os.close(process)
    assert len(new(server.mailboxes / "user1")) == 1


def test_the_log_of_all_is_rotated_and_every_line_whole(start_server: StartServer, tmp_path: Path) -> None:
    configure(tmp_path)
    port = free_port()
    endpoint = f"tcp:{port}:interface=127.0.0.1"
    server = start_server(listen=endpoint, twistd=("-n", "--pidfile=", "--logfile=log"))
    socket_there = False
    while not socket_there:
        try:
            socket.create_connection(("127.0.0.1", port), DEADLINE).close()
            socket_there = True
        except ConnectionRefusedError:
            assert not server._ended()

    def talk() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as client:
            client.noop()

    while '"disconnected"' not in (tmp_path / "log").read_text():
        talk()
    server.signal(signal.SIGUSR1)
    while not (tmp_path / "log.1").exists():
        talk()
    for _ in range(5):
        talk()
    server.stop()
    for name in ("log", "log.1"):
        lines = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        assert {line["worker"] for line in lines if line["event"] == "disconnected"} <= {1, 2}
        assert any(line["event"] == "disconnected" for line in lines)
