"""Storage that fails under a running server: the right 4xx, no debris, and recovery without a restart."""

from __future__ import annotations

import contextlib
import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import programs
from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, Server

ANN = "ann@example.org"
USER1 = "user1@hostmeister.de"
USER2 = "user2@hostmeister.de"
SMALL = "Subject: small\r\n\r\n" + "small\r\n" * 1500
#: Beyond what is kept in memory while it arrives.
LARGE = "Subject: large\r\n\r\n" + "a large message\r\n" * 25_000

Mount = Callable[..., None]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system in memory, or mount it again with other options."""
    mounted: list[Path] = []

    def run(directory: Path, options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        command = [programs.path("mount"), "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            programs.absent(f"right to mount a file system ({done.stderr.strip()})")
        mounted.append(directory)

    yield run
    for directory in reversed(mounted):
        subprocess.run([programs.path("umount"), "--lazy", str(directory)], check=True)


@pytest.fixture
def client(start_server: StartServer) -> Iterator[Callable[[Server], smtplib.SMTP]]:
    clients: list[smtplib.SMTP] = []

    def connect(server: Server) -> smtplib.SMTP:
        clients.append(smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE))
        return clients[-1]

    yield connect
    for each in clients:
        each.close()


def send(client: smtplib.SMTP, text: str, recipient: str = USER1) -> tuple[int, str]:
    """The first reply that is not a success, or the last one, to one message for one recipient."""
    client.ehlo_or_helo_if_needed()
    client.rset()
    for command in (f"MAIL FROM:<{ANN}>", f"RCPT TO:<{recipient}>"):
        code, said = client.docmd(command)
        if code != 250:
            return code, said.decode()
    code, said = client.data(text)
    return code, said.decode()


def files(mailboxes: Path) -> list[Path]:
    return [path for path in mailboxes.rglob("*") if path.is_file()]


def fill(file: Path) -> None:
    """Write until the file system has no room left."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, bytes(4096)):
            pass
    os.close(descriptor)


Connect = Callable[[Server], smtplib.SMTP]


@pytest.mark.requires("mount", "umount")
@pytest.mark.parametrize("text", [SMALL, LARGE], ids=["small", "large"])
def test_a_full_disk_answers_452_until_there_is_room(
    start_server: StartServer, client: Connect, mount: Mount, tmp_path: Path, text: str
) -> None:
    mount(tmp_path / "mailboxes", "size=2m,mode=0755")
    server = start_server()
    peer = client(server)
    assert send(peer, text)[0] == 250
    filler = tmp_path / "mailboxes" / "filler"
    fill(filler)
    before = files(server.mailboxes)
    code, said = send(peer, text)
    assert (code, said[:5]) == (452, "4.3.1")
    assert files(server.mailboxes) == before
    filler.unlink()
    assert send(peer, text)[0] == 250
    assert len(new(server.mailboxes / "user1")) == 2
    server.stop()


def assert_named_in_the_log(server: Server, mailbox: str) -> None:
    assert mailbox in server.wait_for("mailbox_unwritable")["mailbox"]


def test_a_missing_mailbox_answers_451_until_it_is_back(server: Server, client: Connect) -> None:
    mailbox, aside = server.mailboxes / "user1", server.mailboxes / "elsewhere"
    peer = client(server)
    mailbox.rename(aside)
    assert send(peer, SMALL)[0] == 451
    assert_named_in_the_log(server, "user1")
    assert send(peer, SMALL, USER2)[0] == 250
    assert send(peer, SMALL)[0] == 451
    assert not mailbox.exists()
    aside.rename(mailbox)
    assert send(peer, SMALL)[0] == 250
    assert len(new(mailbox)) == 1


@pytest.mark.requires("mount", "umount")
def test_a_read_only_mailbox_answers_451_until_it_is_writable(
    start_server: StartServer, client: Connect, mount: Mount, tmp_path: Path
) -> None:
    mailbox = tmp_path / "mailboxes" / "user1"
    mount(mailbox, "size=2m")
    server = start_server()
    peer = client(server)
    assert send(peer, SMALL)[0] == 250
    subprocess.run([programs.path("mount"), "-o", "remount,ro", str(mailbox)], check=True)
    assert send(peer, SMALL)[0] == 451
    assert_named_in_the_log(server, "user1")
    assert send(peer, SMALL, USER2)[0] == 250
    subprocess.run([programs.path("mount"), "-o", "remount,rw", str(mailbox)], check=True)
    assert send(peer, SMALL)[0] == 250
    assert len(new(mailbox)) == 2
    server.stop()
