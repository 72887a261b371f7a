"""Other people's readers open the Maildirs we deliver into: Dovecot over IMAP, and mutt."""

from __future__ import annotations

import contextlib
import grp
import imaplib
import os
import pty
import pwd
import shlex
import shutil
import signal
import smtplib
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests import programs
from tests.peers.mail import NASTY, content, lines_crlf, lines_lf, new
from tests.peers.server import DEADLINE, Server, free_port

PASSWORD = "for-the-test"

DOVECOT = """
base_dir = {home}/run
state_dir = {home}/run
log_path = /dev/stderr
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{home}/mailboxes/%n
first_valid_uid = {uid}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/%n
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""
#: Root has its processes run as others, and in a chroot; nobody else can.
UNPRIVILEGED = """
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
service imap-login {{
  chroot =
}}
service anvil {{
  chroot =
}}
"""


def deliver(server: Server) -> bytes:
    """Send one message to user1; what lies in the Maildir for it."""
    with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
        client.sendmail("ann@example.org", ["user1@hostmeister.de"], lines_crlf(NASTY), ["BODY=8BITMIME"])
    (message,) = new(server.mailboxes / "user1")
    assert content(message, NASTY) == NASTY
    return message


@attrs.frozen
class Owner:
    """Who owns the mail. Dovecot serves none to root, so for root that is nobody."""

    user: str
    group: str
    uid: int
    gid: int

    @classmethod
    def choose(cls) -> Owner:
        user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        return cls(user.pw_name, grp.getgrgid(user.pw_gid).gr_name, user.pw_uid, user.pw_gid)


class Dovecot:
    """Dovecot with its own configuration and directories, serving C{home/mailboxes}."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self._home = home
        self._owner = Owner.choose()
        config = home / "dovecot.conf"
        template = DOVECOT if os.getuid() == 0 else DOVECOT + UNPRIVILEGED
        config.write_text(
            template.format(home=home, port=self.port, password=PASSWORD, **attrs.asdict(self._owner)),
        )
        self._process = Server([programs.path("dovecot"), "-F", "-c", str(config)], home)
        self._process.wait_for_error("starting up")

    def take(self, mailbox: Path) -> None:
        """Serve a copy of a Maildir, owned by whom Dovecot takes for its user."""
        copy = self._home / "mailboxes" / mailbox.name
        shutil.copytree(mailbox, copy)
        for path in (copy, *copy.rglob("*")):
            os.chown(path, self._owner.uid, self._owner.gid)

    def end(self) -> None:
        self._process.signal(signal.SIGTERM)
        self._process.wait()


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    # not in pytest's directory for the test, which only its owner may enter
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        running = Dovecot(home)
        yield running
        running.end()


@pytest.mark.requires("dovecot")
def test_dovecot_serves_the_message_over_imap(server: Server, dovecot: Dovecot) -> None:
    stored = deliver(server)
    dovecot.take(server.mailboxes / "user1")
    with imaplib.IMAP4("127.0.0.1", dovecot.port, timeout=DEADLINE) as client:
        client.login("user1", PASSWORD)
        assert client.select("INBOX", readonly=True) == ("OK", [b"1"])
        fetched = client.fetch("1", "(BODY.PEEK[])")[1][0]
    assert isinstance(fetched, tuple)
    assert lines_lf(fetched[1]) == stored


@pytest.mark.requires("mutt")
def test_mutt_opens_the_message(server: Server, tmp_path: Path) -> None:
    stored = deliver(server)
    seen, settings = tmp_path / "seen", tmp_path / "muttrc"
    pipe = f"<pipe-message>cat > {shlex.quote(str(seen))}<enter>"
    # Without its folder mutt asks whether to make one, and that question would eat the pushed keys.
    settings.write_text(f"set wait_key=no pipe_decode=no folder={tmp_path}\npush '{pipe}<exit>'\n")
    command = [programs.path("mutt"), "-n", "-F", str(settings), "-R", "-f", str(server.mailboxes / "user1")]
    run_at_a_terminal(command, home=tmp_path)
    assert seen.read_bytes() == stored


def run_at_a_terminal(command: list[str], home: Path) -> None:
    """Run a full-screen program that needs nobody at its keyboard."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "vt100", "HOME": str(home)}
    ) as it:
        os.close(theirs)
        deadline = threading.Timer(DEADLINE, it.kill)
        deadline.start()
        screen = bytearray()
        with contextlib.suppress(OSError):  # its last user has closed the terminal
            while shown := os.read(ours, 65536):
                screen += shown
        deadline.cancel()
        os.close(ours)
        assert it.wait() == 0, bytes(screen)
