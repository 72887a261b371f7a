"""Other people's clients log in, by every mechanism they know, and send."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailagent.directory import verifiers
from tests import programs
from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, LOOPBACK, Server, environment
from tests.peers.test_clients import run

USER1 = "user1@hostmeister.de"
MESSAGE = b"From: user1@hostmeister.de\nSubject: mine\n\nhi\n"


def mailagent(directory: Path, *words: str, password: str = "") -> None:
    command = [sys.executable, "-c", "from mailagent.cli.main import main; main()"]
    done = subprocess.run(
        [*command, *words], input=password.encode(), capture_output=True, cwd=directory, env=environment(), check=False,
        timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def server(start_server: StartServer, tmp_path: Path) -> Server:
    """A server at which user1 may log in on loopback with the password "secret"."""
    (tmp_path / "mailagent.toml").write_text(
        '[whitelist]\nhosts = ["hostmeister.de"]\nusers = ["user1", "user2"]\n'
        '[directory]\nusers = "users"\n[auth]\nplaintext_loopback = true\nfailures = 1000\nfailure_delay = "100 ms"\n'
        f'[[listen]]\nendpoint = "{LOOPBACK}"\nrole = "submission"\n'
    )
    mailagent(tmp_path, "user", "add", "user1", password="secret\n")
    running = start_server(listen="")
    running.wait_for("listening")
    return running


def assert_sent(server: Server, mechanism: str, mailbox: str = "user2") -> None:
    (message,) = new(server.mailboxes / mailbox)
    assert b" with ESMTPA id " in message
    assert b"\nMessage-ID: <" in message or b"\nMessage-Id: <" in message
    (event,) = server.events("login_succeeded")
    assert (event["name"], event["mechanism"]) == ("user1", mechanism)
    assert "secret" not in server.output.replace("#secret", "")
    server.stop()


@pytest.mark.requires("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in(server: Server, mechanism: str) -> None:
    options = ["--auth", mechanism, "--auth-user", "user1", "--auth-password", "secret", "--from", USER1]
    address = f"127.0.0.1:{server.port}"
    run([programs.path("swaks"), "--server", address, "--to", "user2@hostmeister.de", *options])
    assert_sent(server, mechanism)


@pytest.mark.requires("msmtp")
@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp_logs_in(server: Server, tmp_path: Path, mechanism: str) -> None:
    if mechanism not in run([programs.path("msmtp"), "--version"]):
        programs.absent(f"msmtp with {mechanism}")
    file = tmp_path / "msmtprc"
    file.write_text(
        f"account default\nhost 127.0.0.1\nport {server.port}\ntls off\nauth {mechanism}\nuser user1\n"
        f"password secret\nfrom {USER1}\n"
    )
    file.chmod(0o600)
    run([programs.path("msmtp"), f"--file={file}", "user2@hostmeister.de"], stdin=MESSAGE)
    assert_sent(server, mechanism.upper())


@pytest.mark.requires("curl")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl_logs_in(server: Server, tmp_path: Path, mechanism: str) -> None:
    config = tmp_path / "curlrc"
    config.write_text('user = "user1:secret"\n')
    url = f"smtp://127.0.0.1:{server.port}/client.example.org"
    options = ["--silent", "--show-error", "--login-options", f"AUTH={mechanism}", "--config", str(config)]
    envelope = ["--mail-from", USER1, "--mail-rcpt", "user2@hostmeister.de", "--upload-file", "-"]
    run([programs.path("curl"), *options, *envelope, url], stdin=MESSAGE.replace(b"\n", b"\r\n"))
    assert_sent(server, mechanism)


def sends(server: Server, login: Sequence[str], sender: str, recipient: str) -> int:
    """The code with which smtplib's message is answered; 250 where it was taken."""
    message = EmailMessage()
    message["Subject"] = "mine"
    with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
        try:
            client.login(*login)
            client.send_message(message, sender, [recipient])
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code
        except smtplib.SMTPSenderRefused as error:
            return error.smtp_code
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients[recipient][0]
        return 250


def test_smtplib_logs_in_and_is_held_to_its_own_addresses(server: Server) -> None:
    login = ("user1", "secret")
    assert sends(server, ("user1", "wrong"), USER1, USER1) == 535
    assert sends(server, login, "user2@hostmeister.de", USER1) == 550
    assert sends(server, login, USER1, USER1) == 250
    assert len(new(server.mailboxes / "user1")) == 1
    server.stop()


def test_a_running_server_takes_up_new_users_and_passwords(server: Server, tmp_path: Path) -> None:
    """The file is looked at once a second, and every failed login waits a little longer."""
    mailagent(tmp_path, "user", "add", "user2", password="other\n")
    mailagent(tmp_path, "user", "passwd", "user1", password="changed\n")
    for _ in range(int(DEADLINE)):
        if sends(server, ("user2", "other"), "user2@hostmeister.de", USER1) == 250:
            break
    assert sends(server, ("user1", "changed"), USER1, USER1) == 250
    assert sends(server, ("user1", "secret"), USER1, USER1) == 535
    server.stop()


@pytest.mark.requires("doveadm")
def test_dovecot_and_we_check_each_others_hashes(tmp_path: Path) -> None:
    def doveadm(*words: str) -> str:
        return run([programs.path("doveadm"), "-c", "/dev/null", "pw", *words, "-p", "secret"]).strip()

    mailagent(tmp_path, "user", "add", "ann", "--users", "users", password="secret\n")
    ours = (tmp_path / "users").read_text().split("ann:")[1].strip()
    assert "(verified)" in doveadm("-t", ours)
    for scheme in ("SCRAM-SHA-256", "SHA512-CRYPT", "BLF-CRYPT"):
        assert verifiers.read(doveadm("-s", scheme)).check(b"secret")
