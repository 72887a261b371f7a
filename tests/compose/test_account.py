"""Where a password comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import succeed

from mailagent.compose.account import MAX_PASSWORD, Account, NoPassword, password_by, password_in
from mailagent.envelope.reply import Reply
from mailagent.smtp.client_auth import Login
from mailagent.smtp.sending_failed import LoginFailed
from tests.deferreds import result

WRONG = LoginFailed("the server refuses the login: 535 5.7.8 Wrong", Reply(535, "5.7.8", "Wrong"))
NOT_NOW = LoginFailed("the server refuses the login: 454 4.7.0 Later", Reply(454, "4.7.0", "Later"))
NO_WAY = LoginFailed("the server offers no way to log in that is known here")


class Server:
    """Lets in by one password, and refuses all others with C{refusal}.

    @ivar tried: the passwords.
    """

    def __init__(self, password: str, refusal: LoginFailed = WRONG) -> None:
        self.password, self.refusal = password, refusal
        self.tried: list[str] = []

    async def session(self, login: Login) -> Login:
        self.tried.append(login.password)
        if login.password != self.password:
            raise self.refusal
        return login


def account(*answers: str, asking: int = 1, told: list[str] | None = None) -> Account:
    """Of somebody who gives these answers."""
    turn, told = iter(answers), [] if told is None else told
    return Account("ann", lambda: succeed(next(turn)), lambda call: succeed(call()), asking, told.append)


def session(account: Account, server: Server) -> Login:
    return result(account.session(server.session))


def test_a_password_is_asked_for_once() -> None:
    ann = account("secret")
    for _ in range(2):
        login = session(ann, Server("secret"))
        assert (login.user, login.password) == ("ann", "secret")
    assert "secret" not in repr(ann)


def test_a_wrong_password_is_told_and_asked_for_again_and_the_right_one_stays() -> None:
    server, told = Server("secret"), list[str]()
    ann = account("sceret", "secret", asking=3, told=told)
    assert [session(ann, server).password for _ in range(2)] == ["secret"] * 2
    assert server.tried == ["sceret", "secret", "secret"]
    assert told == ["the server refuses the login: 535 5.7.8 Wrong"]


@pytest.mark.parametrize("asking", [1, 3])
def test_a_password_is_not_asked_for_without_end(asking: int) -> None:
    server = Server("secret")
    with pytest.raises(LoginFailed):
        session(account(*"abcdef", asking=asking), server)
    assert server.tried == list("abcdef")[:asking]


@pytest.mark.parametrize("refusal", [NOT_NOW, NO_WAY])
def test_another_password_is_no_remedy_for_another_refusal(refusal: LoginFailed) -> None:
    server = Server("secret", refusal)
    with pytest.raises(LoginFailed):
        session(account("a", "secret", asking=3), server)
    assert server.tried == ["a"]


@pytest.mark.parametrize("content", ["s\xe9same", "s\xe9same\n", "s\xe9same\r\n", "s\xe9same\nuser: ann\n"])
def test_a_files_first_line_is_the_password(tmp_path: Path, content: str) -> None:
    (tmp_path / "password").write_text(content, "utf-8", newline="")
    assert password_in(tmp_path / "password") == "s\xe9same"


@pytest.mark.parametrize("content", [b"", b"\nsecret", b"\xff\xfe", b"a\0b", b"x" * (MAX_PASSWORD + 1)])
def test_a_file_without_a_password_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "password").write_bytes(content)
    with pytest.raises(NoPassword, match=r"password: \w") as caught:
        password_in(tmp_path / "password")
    assert "xx" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoPassword, match="missing: No such file"):
        password_in(tmp_path / "missing")


@pytest.mark.parametrize("command", ["echo secret", "printf secret", "echo secret; echo more; echo noise >&2"])
def test_a_commands_first_line_is_the_password(command: str) -> None:
    assert password_by(command) == "secret"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo secret; exit 3", "status 3"),
        ("true", "no password"),
        ("no-such-command-here 2>/dev/null", "no password"),
        ("head -c 100000 /dev/zero | tr '\\0' x", "is no password"),
        ("cat", "no password"),
    ],
)
def test_a_command_that_gives_none_is_told(command: str, reason: str) -> None:
    with pytest.raises(NoPassword, match=reason) as caught:
        password_by(command)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "command", ["exec sleep 600", "echo secret; exec sleep 600", "echo secret; exec sleep 600 >&-"]
)
def test_a_command_is_not_waited_for_without_end(command: str) -> None:
    with pytest.raises(NoPassword, match=r"within 0\.05 s"):
        password_by(command, 0.05)


def test_a_command_that_writes_without_end_is_stopped() -> None:
    with pytest.raises(NoPassword, match="status"):
        password_by("exec yes")
