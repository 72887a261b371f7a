"""Where a password comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed

from mailagent.compose.account import MAX_PASSWORD, Account, NoPassword, password_by, password_in
from mailagent.smtp.client_auth import Login


def test_a_password_is_asked_for_once() -> None:
    answers = ["secret"]
    logins: list[Login] = []
    account = Account("ann", lambda: succeed(answers.pop()), lambda call: succeed(call()))
    for _ in range(2):
        Deferred.fromCoroutine(account.login()).addCallback(logins.append)
    assert [(login.user, login.password) for login in logins] == [("ann", "secret")] * 2
    assert "secret" not in repr(account)


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
