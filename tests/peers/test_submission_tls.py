"""What a listener for users insists on, in which order, and that our own client does as it asks.

Other people's clients are in L{tests.peers.test_roles}.
"""

from __future__ import annotations

import smtplib
from pathlib import Path

import attrs
import pytest

from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, LOOPBACK, TWISTD, Server
from tests.peers.test_clients import ANN, run
from tests.peers.test_submission import MESSAGE, USER1, mailagent
from tests.peers.test_tls import trusting
from tests.smtp.certificates import write_pair

CONFIGURATION = """
hostname = "mx.example"
whitelist = {{ hosts = ["hostmeister.de"], users = ["user1", "user2"] }}
tls = {{ certificate = "{certificate}", key = "{key}" }}
directory = {{ users = "users" }}
auth = {{ failure_delay = "100 ms" }}
[[listen]]
endpoint = "{loopback}"
role = "{role}"
"""
PASSWORD = "correct horse battery"
USER2 = "user2@hostmeister.de"
STARTTLS_FIRST = (530, b"5.7.0 Must issue a STARTTLS command first")
LOGIN_FIRST = (530, b"5.7.0 Authentication required")
PLAIN = "AHVzZXIxAHNlY3JldA=="


@attrs.frozen
class Submission:
    """A server at which user1 may log in, over TLS only, and what its clients trust."""

    server: Server
    certificate: str
    password_file: str

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("localhost", self.server.port, timeout=DEADLINE)

    def assert_sent(self, mechanism: str = "") -> None:
        """One message has arrived for user2 that user1 sent over TLS, and the log does not know how."""
        (message,) = new(self.server.mailboxes / "user2")
        assert b" with ESMTPSA id " in message
        assert b"\nMessage-I" in message
        (event,) = self.server.events("login_succeeded")
        assert event["name"] == "user1"
        assert mechanism in ("", event["mechanism"])
        self.server.stop()
        assert PASSWORD not in self.server.output


@pytest.fixture
def submission(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Submission:
    """Runs in the role that the test is parametrised with."""
    files = write_pair(tmp_path, "localhost")
    text = CONFIGURATION.format(certificate=files.certificate, key=files.key, loopback=LOOPBACK, role=request.param)
    (tmp_path / "mailagent.toml").write_text(text)
    password_file = tmp_path / "password"
    password_file.write_text(f"{PASSWORD}\n")
    mailagent(tmp_path, "user", "add", "user1", "--password-file", str(password_file))
    server = start_server(listen="")
    server.wait_for("listening")
    return Submission(server, files.certificate, str(password_file))


@pytest.mark.parametrize("submission", ["submission"], indirect=True)
def test_smtplib_goes_over_to_tls_then_logs_in_then_sends(submission: Submission) -> None:
    with submission.connect() as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", f"PLAIN {PLAIN}") == STARTTLS_FIRST
        client.starttls(context=trusting(submission.certificate))
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
        assert client.mail(USER1) == LOGIN_FIRST
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login("user1", "wrong")
        assert refused.value.smtp_code == 535
        client.login("user1", PASSWORD)
        assert client.mail(ANN) == (550, b"5.7.1 Not one of your addresses")
        assert client.sendmail(USER1, [USER2], MESSAGE.decode()) == {}
    submission.assert_sent()


@pytest.mark.parametrize(
    ("submission", "mode"), [("submission", "auto"), ("submissions", "implicit")], indirect=["submission"]
)
def test_our_own_client_proves_its_password_without_telling_it(
    submission: Submission, mode: str, tmp_path: Path
) -> None:
    server = ["--server", f"localhost:{submission.server.port}", "--tls", mode, "--tls-ca", submission.certificate]
    login = ["--user", "user1", "--password-file", submission.password_file]
    command = [str(TWISTD), "mailclient", *server, *login, "--from", USER1, "--to", USER2]
    run(command, stdin=b"hi\n", cwd=tmp_path)
    submission.assert_sent("SCRAM-SHA-256")


@pytest.mark.parametrize("submission", ["mx"], indirect=True)
def test_other_servers_are_offered_no_login(submission: Submission) -> None:
    with submission.connect() as client:
        client.starttls(context=trusting(submission.certificate))
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", f"PLAIN {PLAIN}")[0] == 502
        assert client.sendmail(ANN, [USER2], MESSAGE.decode()) == {}
    (message,) = new(submission.server.mailboxes / "user2")
    assert b" with ESMTPS id " in message
    submission.server.stop()
