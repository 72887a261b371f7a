"""``twistd mailclient``: its options, and the real program in a pipe and on a pseudo-terminal."""

from __future__ import annotations

import base64
import email
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from email import policy
from pathlib import Path
from typing import Any

import attrs
import pytest

from mailagent.clienttap import Options
from mailagent.compose import exit_status
from mailagent.compose.server import Server
from tests.compose.terminal import CTRL_C, CTRL_D, ENTER, Terminal
from tests.smtp import scripted_server
from tests.smtp.scripted_server import DROP, PASSWORD, SILENCE, ScriptedServer, authority, server_tls

ROOT = Path(__file__).resolve().parents[1]
TWISTD = str(Path(sys.executable).with_name("twistd"))
ANN = scripted_server.USER
USER = "user1@hostmeister.de"


@attrs.frozen
class Ended:
    """How the program ended, and what it said."""

    status: int
    out: str
    err: str


@attrs.define
class Client:
    """The program, run in a folder of its own against a server of its own."""

    folder: Path
    server: ScriptedServer

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(self.folder / "state"), "TERM": "xterm"}

    @property
    def drafts(self) -> list[Path]:
        return list((self.folder / "state" / "mailagent" / "drafts").glob("*"))

    def command(self, *options: str) -> list[str]:
        return [TWISTD, "mailclient", "--server", self.server.address, "--from", "me@example.com", *options]

    def pipe(self, content: bytes, *options: str) -> Ended:
        """With standard input from a pipe."""
        run = subprocess.run(
            self.command(*options),
            input=content,
            capture_output=True,
            cwd=self.folder,
            env=self.environment,
            timeout=30,
        )
        return Ended(run.returncode, run.stdout.decode(), run.stderr.decode())

    def terminal(self, *options: str, ignore_hang_up: bool = False) -> Terminal:
        return Terminal(self.command(*options), self.folder, self.environment, ignore_hang_up=ignore_hang_up)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with ScriptedServer() as server:
        yield Client(tmp_path, server)


# Options


def parsed(*options: str) -> Any:
    made = Options()
    made.parseOptions(options)
    return made


def test_implicit_tls_has_a_port_of_its_own() -> None:
    assert parsed("--server", "mx.example.org", "--tls", "implicit")["server"] == Server("mx.example.org", 465)
    assert parsed("--server", "mx.example.org:587", "--tls", "implicit")["server"] == Server("mx.example.org", 587)


def test_recipients_may_be_lists_and_be_repeated() -> None:
    options = parsed("--to", "a@b.c; d@e.f", "--to", "g@h.i", "--bcc", "J <j@k.l>")
    assert [str(who) for who in options["to"]] == ["a@b.c", "d@e.f", "g@h.i"]
    assert [str(who) for who in options["bcc"]] == ["J <j@k.l>"]


def test_the_server_is_ours_at_home_by_default() -> None:
    assert parsed()["server"] == Server("127.0.0.1", 2525)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--to", "a@b.c, nonsense"], "'nonsense'"),
        (["--from", "nonsense"], "'nonsense'"),
        (["--server", "a:b"], "'a:b'"),
        (["--bogus"], "--bogus"),
        (["--tls", "perhaps"], "'perhaps'"),
        (["--password-file", "f"], "--user"),
        (["--user", "ann", "--password-file", "f", "--password-command", "c"], "exclude"),
        (["--user", "ann", "--password-file", "f", "--netrc", "n"], "--password-file and --netrc exclude"),
        (["--netrc", "n", "--tls", "none", "--server", "mx.example.org"], "without TLS"),
        (["--user", "ann", "--tls", "none", "--server", "mx.example.org"], "without TLS"),
        (["surplus"], ""),
    ],
)
def test_bad_options_are_one_line_and_a_status(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    with pytest.raises(SystemExit) as caught:
        parsed(*options)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("twistd mailclient: ")
    assert named in line
    assert caught.value.code == os.EX_USAGE


# In a pipe


def test_a_text_from_a_pipe_is_sent(client: Client) -> None:
    ended = client.pipe(b"hi\n", "--to", USER)
    assert ended == Ended(0, f"{USER}: accepted (250 2.0.0 Stored)\n", "")
    (message,) = client.server.messages
    assert message.endswith(b"\r\n\r\nhi\r\n.\r\n")


def test_it_is_sent_in_one_session_with_this_hosts_name(client: Client) -> None:
    client.pipe(b"hi\n", "--to", USER)
    (session,) = client.server.sessions
    assert session[0].startswith(b"EHLO ")
    assert session[-1] == b"QUIT"


def test_a_text_from_a_file_is_sent(client: Client) -> None:
    (client.folder / "text").write_text("gr\xfc\xdfe\n", "utf-8")
    assert client.pipe(b"ignored", "--to", USER, "--subject", "Gru\xdf", "--body", "text").status == 0
    (message,) = client.server.messages
    assert b"Subject: =?utf-8?" in message
    assert b"ignored" not in message


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], os.EX_USAGE),
        (["--to", "nonsense"], os.EX_USAGE),
        (["--to", USER, "--body", "missing"], os.EX_NOINPUT),
        (["--to", USER, "--log", "missing/log"], os.EX_CANTCREAT),
        (["--to", USER, "--tls", "starttls", "--tls-ca", "missing"], os.EX_NOINPUT),
        (["--to", USER, "--user", "ann"], os.EX_USAGE),
        (["--to", USER, "--attach", "missing"], os.EX_USAGE),
        (["--to", USER, "--attach", "."], os.EX_USAGE),
        (["--resume", "missing"], os.EX_NOINPUT),
        (["--resume", os.devnull], os.EX_DATAERR),
        (["--to", USER, "--user", "ann", "--password-file", "missing"], os.EX_NOINPUT),
        (["--to", USER, "--user", "ann", "--password-command", "exit 1"], os.EX_NOINPUT),
        (["--to", USER, "--netrc", "missing"], os.EX_NOINPUT),
        (["--to", USER, "--tls", "starttls", "--tls-ca", os.devnull], os.EX_USAGE),
    ],
)
def test_what_cannot_work_is_told_in_one_line(client: Client, options: list[str], status: int) -> None:
    ended = client.pipe(b"hi\n", *options)
    assert (ended.status, ended.out) == (status, "")
    assert ended.err.startswith("twistd mailclient: ")
    assert ended.err.count("\n") == 1
    assert client.server.sessions == []


def test_a_text_that_is_not_utf_8_is_refused(client: Client) -> None:
    assert client.pipe(b"\xff\xfe", "--to", USER).status == os.EX_DATAERR


@pytest.mark.parametrize(
    ("to", "replies", "status"),
    [
        (f"{USER}, nobody@hostmeister.de", {}, exit_status.PARTLY_ACCEPTED),
        ("nobody@hostmeister.de", {}, os.EX_NOUSER),
        ("later@hostmeister.de", {}, os.EX_TEMPFAIL),
        (USER, {"message": "554 5.6.0 Bad"}, os.EX_UNAVAILABLE),
        (USER, {"message": DROP}, os.EX_TEMPFAIL),
        (USER, {"greeting": "HTTP/1.1 400 Bad Request"}, os.EX_PROTOCOL),
    ],
)
def test_the_status_tells_what_came_of_it_and_the_text_is_kept(
    client: Client, to: str, replies: dict[str, str], status: int
) -> None:
    client.server.replies.update(replies)
    ended = client.pipe(b"hi\n", "--to", to)
    assert ended.status == status
    (draft,) = client.drafts
    assert f"The text is kept in {draft}\n" in ended.err
    assert draft.read_bytes().endswith(b"\n\nhi\n")
    assert draft.stat().st_mode & 0o777 == 0o600


def test_a_server_that_is_not_there_is_unavailable(client: Client) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    ended = client.pipe(b"hi\n", "--to", USER, "--server", f"127.0.0.1:{port}")
    assert ended.status == os.EX_UNAVAILABLE
    assert ended.err.startswith("Failed: 127.0.0.1:")
    assert ": cannot connect: " in ended.err


def test_stock_twistd_would_daemonise_and_stumble_over_the_servers_pid_file(client: Client) -> None:
    """The server's C{twistd.pid} in the same folder stops a stock plugin, and what goes on has lost its terminal."""
    pid_file = client.folder / "twistd.pid"
    pid_file.write_text(str(os.getpid()))
    assert client.pipe(b"hi\n", "--to", USER).status == 0
    assert pid_file.read_text() == str(os.getpid())
    assert {path.name for path in client.folder.iterdir()} == {"twistd.pid", "state"}


def test_the_log_goes_to_its_file_and_has_no_content(client: Client) -> None:
    ended = client.pipe(b"secret\n", "--to", USER, "--log", "log")
    log = (client.folder / "log").read_text()
    assert f"sent: RCPT TO:<{USER}>" in log
    assert "received: 250 2.0.0 Stored" in log
    assert "secret" not in log
    assert ended.err == ""


def test_files_go_along(client: Client) -> None:
    (client.folder / "gr\xfc\xdfe.png").write_bytes(b"not really")
    (client.folder / "b").write_bytes(b"\0")
    assert client.pipe(b"hi\n", "--to", USER, "--attach", "gr\xfc\xdfe.png", "--attach", "b").status == 0
    message = email.message_from_bytes(client.server.messages[0], policy=policy.default)
    parts = [(part.get_filename(), part.get_content_type(), part.get_content()) for part in message.iter_attachments()]
    assert parts == [("gr\xfc\xdfe.png", "image/png", b"not really"), ("b", "application/octet-stream", b"\0")]


def test_an_address_beyond_ascii_needs_a_server_that_takes_it(client: Client) -> None:
    ended = client.pipe(b"hi\n", "--to", "j\xf6rg@example.org")
    assert ended.status == os.EX_UNAVAILABLE
    assert "5.6.9" in ended.out
    client.server.replies["EHLO"] = "250-scripted.example\r\n250-8BITMIME\r\n250 SMTPUTF8"
    assert client.pipe(b"hi\n", "--to", "j\xf6rg@example.org").status == 0
    assert "RCPT TO:<j\xf6rg@example.org>".encode() in client.server.sessions[-1]


def test_a_kept_draft_is_resumed_and_removed_once_it_is_through(client: Client) -> None:
    (client.folder / "a.bin").write_bytes(b"\0\1")
    options = ("--to", f"{USER}, later@hostmeister.de", "--subject", "Gr\xfc\xdfe", "--attach", "a.bin")
    assert client.pipe("sch\xf6n\n".encode(), *options).status == exit_status.PARTLY_ACCEPTED
    (draft,) = client.drafts
    del client.server.replies["RCPT TO:<later@"]
    ended = client.pipe(b"", "--resume", str(draft))
    assert ended == Ended(0, "later@hostmeister.de: accepted (250 2.0.0 Stored)\n", "")
    assert client.drafts == []
    first, second = (email.message_from_bytes(sent, policy=policy.default) for sent in client.server.messages)
    assert second["To"] == first["To"] == f"{USER}, later@hostmeister.de"
    assert second["Subject"] == "Gr\xfc\xdfe"
    body = second.get_body()
    assert body is not None
    assert body.get_content().rstrip() == "sch\xf6n"
    assert [part.get_content() for part in second.iter_attachments()] == [b"\0\1"]


def test_who_was_accepted_is_remembered_for_the_next_time(client: Client) -> None:
    client.pipe(b"hi\n", "--to", f"{USER}, nobody@hostmeister.de")
    assert (client.folder / "state" / "mailagent" / "recipients").read_text() == f"{USER}\n"
    with client.terminal("--subject", "", "--body", os.devnull) as terminal:
        terminal.expect("To:")
        terminal.type("us\t", ENTER)
        assert terminal.status() == 0
    assert f"RCPT TO:<{USER}>".encode() in client.server.sessions[-1]


# Under TLS


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_a_message_goes_over_tls_to_who_is_trusted(client: Client, mode: str) -> None:
    (client.folder / "ca.pem").write_bytes(authority().cert_pem.bytes())
    replies = {"EHLO": "250-scripted.example\r\n250 STARTTLS"}
    with ScriptedServer(replies, server_tls("127.0.0.1"), implicit=mode == "implicit") as server:
        options = ("--to", USER, "--server", server.address, "--tls", mode)
        assert client.pipe(b"hi\n", *options, "--tls-ca", "ca.pem").status == 0
        assert client.pipe(b"hi\n", *options).status == os.EX_PROTOCOL
        assert len(server.messages) == 1
        assert any(line.startswith(b"MAIL") for line in server.secure)


def test_where_tls_is_asked_for_nothing_is_sent_without(client: Client) -> None:
    ended = client.pipe(b"hi\n", "--to", USER, "--tls", "starttls")
    assert ended.status == os.EX_PROTOCOL
    assert ended.err.startswith("Failed: the server offers no TLS\n")
    assert client.server.messages == []


# With a login


@attrs.define
class Account:
    """A server that people log in at, under TLS alone, and the options for that."""

    server: ScriptedServer
    options: tuple[str, ...]


@pytest.fixture
def account(client: Client) -> Iterator[Account]:
    (client.folder / "ca.pem").write_bytes(authority().cert_pem.bytes())
    with ScriptedServer({"EHLO": "250-scripted.example\r\n250 STARTTLS"}, server_tls("127.0.0.1")) as server:
        server.under_tls["EHLO"] = "250-scripted.example\r\n250 AUTH PLAIN SCRAM-SHA-256"
        options = ("--server", server.address, "--tls-ca", "ca.pem", "--user", ANN, "--to", USER, "--log", "log")
        yield Account(server, options)


def test_a_login_makes_for_tls_and_its_password_comes_from_a_file_or_a_command(
    client: Client, account: Account
) -> None:
    (client.folder / "password").write_text(PASSWORD)
    for source in (["--password-file", "password"], ["--password-command", "cat password"]):
        assert client.pipe(b"hi\n", *account.options, *source).status == 0
    assert account.server.logins == ["SCRAM-SHA-256"] * 2
    assert PASSWORD not in (client.folder / "log").read_text()


def disguises(password: str) -> list[bytes]:
    """A password, and how it goes over the wire."""
    octets = password.encode()
    return [octets, base64.b64encode(octets), base64.b64encode(f"\0{ANN}\0{password}".encode())]


@pytest.mark.parametrize("password", [PASSWORD, "sesame"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_a_password_is_neither_told_nor_logged_whether_it_is_right_or_not(
    client: Client, account: Account, mechanism: str, password: str
) -> None:
    account.server.under_tls["EHLO"] = f"250-scripted.example\r\n250 AUTH {mechanism}"
    ended = client.pipe(b"hi\n", *account.options, "--password-command", f"echo '{password}'")
    assert ended.status == (0 if password == PASSWORD else os.EX_NOPERM)
    log = (client.folder / "log").read_bytes()
    assert f"sent: AUTH {mechanism}".encode() in log
    received = b"\n".join(account.server.secure)
    assert mechanism != "PLAIN" or disguises(password)[2] in received
    for secret in disguises(password):
        assert secret not in log + ended.out.encode() + ended.err.encode()


def test_what_is_typed_for_a_password_is_neither_shown_nor_logged(client: Client, account: Account) -> None:
    with client.terminal(*account.options, "--subject", "") as terminal:
        terminal.expect(f"Password of {ANN}:")
        terminal.type("oyster", ENTER)
        terminal.expect("Wrong")
        terminal.expect(f"Password of {ANN}:")
        terminal.type(CTRL_C)
        assert terminal.status() == exit_status.CANCELLED
        assert "oyster" not in terminal.screen
    assert b"oyster" not in (client.folder / "log").read_bytes()


def test_user_and_password_come_from_the_servers_line_in_a_netrc_file(client: Client, account: Account) -> None:
    netrc = client.folder / "netrc"
    netrc.write_text(f'machine mx.example login eve password x\nmachine 127.0.0.1 login {ANN} password "{PASSWORD}"\n')
    server = ("--server", account.server.address, "--tls-ca", "ca.pem", "--to", USER, "--netrc", "netrc")
    netrc.chmod(0o644)
    ended = client.pipe(b"hi\n", *server)
    assert (ended.status, account.server.sessions) == (os.EX_NOINPUT, [])
    assert ended.err == ("twistd mailclient: --netrc: netrc: it is open to others (mode 0644); it has to be 0600\n")
    netrc.chmod(0o600)
    assert client.pipe(b"hi\n", *server).status == 0
    assert account.server.logins == ["SCRAM-SHA-256"]


def test_a_refused_login_has_a_status_and_keeps_the_text(client: Client, account: Account) -> None:
    ended = client.pipe(b"hi\n", *account.options, "--password-command", "echo sesame")
    assert ended.status == os.EX_NOPERM
    assert ended.err.startswith("Failed: the server refuses the login: 535 5.7.8 Wrong\nThe text is kept in ")
    assert "sesame" not in (client.folder / "log").read_text()


def test_a_person_is_asked_for_the_password_once_before_anything_else_is_written(
    client: Client, account: Account
) -> None:
    with client.terminal(*account.options, "--subject", "") as terminal:
        terminal.expect(f"Password of {ANN}:")
        terminal.type(PASSWORD, ENTER)
        terminal.expect("Enter email message:")
        terminal.type("text", ENTER, CTRL_D)
        assert terminal.status() == 0
        assert PASSWORD not in terminal.screen
    assert account.server.logins == ["SCRAM-SHA-256"] * 2


def test_a_person_is_asked_for_a_wrong_password_again(client: Client, account: Account) -> None:
    with client.terminal(*account.options, "--subject", "") as terminal:
        for password in ("sesame", PASSWORD):
            terminal.expect(f"Password of {ANN}:")
            terminal.type(password, ENTER)
            if password != PASSWORD:
                terminal.expect("the server refuses the login: 535 5.7.8 Wrong")
        terminal.expect("Enter email message:")
        terminal.type("text", ENTER, CTRL_D)
        assert terminal.status() == 0
    assert account.server.logins == ["SCRAM-SHA-256"] * 2


def test_a_text_is_kept_while_the_password_is_asked_for_again_and_after(client: Client, account: Account) -> None:
    with client.terminal(*account.options, "--subject", "") as terminal:
        terminal.expect(f"Password of {ANN}:")
        terminal.type(PASSWORD, ENTER)
        terminal.expect("Enter email message:")
        account.server.replies["AUTH"] = "535 5.7.8 Changed"
        terminal.type("text", ENTER, CTRL_D)
        for _ in range(2):
            terminal.expect("the server refuses the login: 535 5.7.8 Changed")
            terminal.expect(f"Password of {ANN}:")
            terminal.type("sesame", ENTER)
        terminal.expect("Failed: the server refuses the login: 535 5.7.8 Changed")
        assert terminal.status() == os.EX_NOPERM
    (draft,) = client.drafts
    assert draft.read_bytes().endswith(b"\n\ntext\n")


# On a terminal


def test_a_person_sends_a_message(client: Client) -> None:
    with client.terminal() as terminal:
        terminal.expect("To:")
        terminal.type(USER, ENTER)
        terminal.expect("Subject:")
        terminal.type("Hello", ENTER)
        terminal.expect("(^C to cancel) | (^D to send)\nEnter email message:")
        terminal.type("line one", ENTER, "line two", ENTER, CTRL_D)
        terminal.expect(f"{USER}  accepted  250 2.0.0 Stored")
        assert terminal.status() == 0
        assert terminal.as_found
    check, sending = client.server.sessions
    assert check[1:] == [b"MAIL FROM:<me@example.com>", f"RCPT TO:<{USER}>".encode(), b"RSET", b"QUIT"]
    assert sending[4].endswith(b"\r\n\r\nline one\r\nline two\r\n.\r\n")


def test_nothing_of_the_log_is_in_the_dialogue(client: Client) -> None:
    with client.terminal("--to", USER, "--subject", "") as terminal:
        terminal.expect("Enter email message:")
        terminal.type(CTRL_D)
        terminal.status()
        assert "twistd" not in terminal.screen
        assert "RCPT" not in terminal.screen
        assert "Twisted" not in terminal.screen


def test_what_is_typed_ahead_in_one_go_is_a_message(client: Client) -> None:
    with client.terminal() as terminal:
        terminal.expect("To:")
        terminal.type(USER, ENTER, "Hello", ENTER, "text", ENTER, CTRL_D)
        assert terminal.status() == 0
    assert (
        client.server.messages[0].endswith(b"\r\nSubject: Hello\r\n")
        or b"\r\n\r\ntext\r\n.\r\n" in (client.server.messages[0])
    )


def test_control_c_cancels_and_sends_nothing(client: Client) -> None:
    with client.terminal("--to", USER, "--subject", "") as terminal:
        terminal.expect("Enter email message:")
        terminal.type("text", ENTER, CTRL_C)
        terminal.expect("Cancelled: nothing was sent.")
        assert terminal.status() == exit_status.CANCELLED
        assert terminal.as_found
    assert client.server.messages == []
    assert client.drafts == []


def test_a_refused_recipient_is_corrected_before_the_text_is_written(client: Client) -> None:
    with client.terminal("--subject", "") as terminal:
        terminal.expect("To:")
        terminal.type("nobody@hostmeister.de", ENTER)
        terminal.expect("nobody@hostmeister.de  refused  550 5.1.1 No such user here")
        terminal.expect("Instead of nobody@hostmeister.de (empty: leave out): nobody@hostmeister.de")
        terminal.type("\x01", "\x1b[3~" * len("nobody"), "user1", ENTER)  # ^A, Delete
        terminal.expect("Enter email message:")
        terminal.type("text", ENTER, CTRL_D)
        terminal.expect(f"{USER}  accepted")
        assert terminal.status() == 0
    assert f"\r\nTo: {USER}\r\n".encode() in client.server.messages[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_input_is_awaited_ends_it_within_a_second(client: Client, number: signal.Signals) -> None:
    with client.terminal("--to", USER, "--subject", "") as terminal:
        terminal.expect("Enter email message:")
        terminal.type("half a te")
        terminal.expect("half a te")
        terminal.signal(number)
        assert terminal.process.wait(20) == -number
        terminal.expect("The text is kept in ")
        assert terminal.as_found
    assert client.server.messages == []
    assert client.drafts[0].read_bytes().endswith(b"\n\nhalf a te\n")


@pytest.mark.parametrize("ignored", [False, True])
def test_a_text_survives_the_closing_of_its_window(client: Client, ignored: bool) -> None:
    with client.terminal("--to", USER, "--subject", "", ignore_hang_up=ignored) as terminal:
        terminal.expect("Enter email message:")
        terminal.type("half a te")
        terminal.expect("half a te")
        terminal.hang_up()
        # Which is noticed first, the signal or the terminal's end, is chance.
        assert terminal.process.wait(20) in ({exit_status.CANCELLED} if ignored else {129, exit_status.CANCELLED})
    assert client.server.messages == []
    assert client.drafts[0].read_bytes().endswith(b"\n\nhalf a te\n")


def test_control_d_on_a_line_with_text_and_control_z_do_nothing_and_on_a_blank_one_it_sends(client: Client) -> None:
    with client.terminal("--to", USER, "--subject", "") as terminal:
        terminal.expect("Enter email message:")
        terminal.type("hello\x1a", "\x01", CTRL_D)  # ^Z; ^A: to the line's beginning
        terminal.type("\x05", ENTER, "  ", CTRL_D)
        assert terminal.status() == 0
    assert b"\r\nhello\r\n" in client.server.messages[0]


def test_control_c_while_the_server_is_silent_ends_it(client: Client) -> None:
    client.server.replies["EHLO"] = SILENCE
    with client.terminal("--subject", "") as terminal:
        terminal.expect("To:")
        terminal.type(USER, ENTER)
        assert client.server.silent.wait(30)
        terminal.type(CTRL_C)
        terminal.expect("Cancelled: nothing was sent.")
        assert terminal.status() == -signal.SIGINT
        assert terminal.as_found
