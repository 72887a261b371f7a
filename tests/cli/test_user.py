"""C{mailagent user}: what it writes, says and refuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mailagent.cli.main import main
from mailagent.directory.users_file import UsersFile
from tests.directory.test_users_file import ARGON2
from tests.peers.server import DEADLINE, environment


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return tmp_path / "users"


def run(users: Path, *words: str, **options: Any) -> Result:
    command, *rest = words
    return CliRunner().invoke(main, ["user", command, "--users", str(users), *rest], **options)


def checks(users: Path, name: str, password: bytes) -> bool:
    found = UsersFile.parse(users.read_bytes()).find(name)
    return found is not None and found.verifier.check(password)


def test_a_user_is_added_with_a_password_from_standard_input(users: Path) -> None:
    done = run(users, "add", "ann", "--address", "sales@example.org", input="secret\n")
    assert (done.exit_code, done.stdout) == (0, "")
    assert checks(users, "ann", b"secret")
    assert users.stat().st_mode & 0o777 == 0o600
    assert users.read_text().startswith("#secret:")
    assert "secret\n" not in users.read_text()


def test_a_password_comes_from_a_file(users: Path, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pass word\r\nnot this\n")
    assert run(users, "add", "ann", "--password-file", str(file)).exit_code == 0
    assert checks(users, "ann", b"pass word")


def test_at_a_terminal_the_password_is_typed_twice_and_not_shown(users: Path) -> None:
    command = [sys.executable, "-c", "from mailagent.cli.main import main; main()", "user", "add", "ann"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "--users", str(users)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(),
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b""
        for question in (b"Password: ", b"Again: "):
            while not seen.endswith(question):
                seen += os.read(ours, 1000)
            os.write(ours, b"secret\n")
        assert process.wait(DEADLINE) == 0
    os.close(ours)
    assert b"secret" not in seen
    assert checks(users, "ann", b"secret")


def test_a_password_that_is_typed_must_be_utf_8(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.cli.user.sys", Typist())
    monkeypatch.setattr("click.prompt", lambda *_, **__: "pass\udcffword")  # as Python takes octets that are not
    done = run(users, "add", "ann")
    assert (done.exit_code, done.stderr) == (1, "Error: the password is not UTF-8\n")


class Typist:
    """Stands in for C{sys}: there is a terminal."""

    def __init__(self) -> None:
        self.stdin = self

    def isatty(self) -> bool:
        return True


def test_a_password_is_changed_and_other_lines_stay(users: Path) -> None:
    users.write_text(f"# mine\nann:{ARGON2}:1:1::::x=y\nbob:{ARGON2}\n")
    assert run(users, "passwd", "ANN", input="secret\n").exit_code == 0
    assert checks(users, "ann", b"secret")
    assert checks(users, "bob", b"x")
    assert "# mine\nann:{SCRAM-SHA-256}" in users.read_text()
    assert ":1:1::::x=y\n" in users.read_text()


def test_a_user_is_deleted(users: Path) -> None:
    users.write_text(f"ann:{ARGON2}\nbob:{ARGON2}\n")
    assert run(users, "del", "ann").exit_code == 0
    assert [line for line in users.read_text().splitlines() if not line.startswith("#")] == [f"bob:{ARGON2}"]


def test_users_are_listed_for_people_and_programs(users: Path) -> None:
    run(users, "add", "cat", "--address", "a@b.example", "--address", "c@d.example", input="secret\n")
    with users.open("a") as file:
        file.write(f"ann:{ARGON2}\n")
    before = users.read_bytes()
    assert run(users, "list").stdout == "ann\timported\ncat\tscram\ta@b.example,c@d.example\n"
    assert json.loads(run(users, "list", "--json").stdout) == [
        {"name": "ann", "scram": False, "addresses": []},
        {"name": "cat", "scram": True, "addresses": ["a@b.example", "c@d.example"]},
    ]
    assert users.read_bytes() == before


def test_without_a_file_there_is_nobody_and_none_is_made(users: Path) -> None:
    assert run(users, "list", "--json").stdout == "[]\n"
    assert not users.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "ann"], "ann is there already"),
        (["add", "a:b"], "colon"),
        (["add", "bob", "--address", "nonsense"], "not local@domain"),
        (["passwd", "bob"], "no user 'bob'"),
        (["del", "bob"], "no user 'bob'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_changes_nothing(users: Path, words: list[str], said: str) -> None:
    users.write_text(f"ann:{ARGON2}\n")
    before = users.read_bytes()
    done = run(users, *words, input="secret\n")
    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert users.read_bytes() == before


@pytest.mark.parametrize("password", ["\n", "", "x" * 1025 + "\n", "\U0001f600\n"])
def test_a_password_that_cannot_be_used_is_refused(users: Path, password: str) -> None:
    assert run(users, "add", "ann", input=password).exit_code == 1
    assert not users.exists()


def test_a_file_with_mistakes_is_left_alone(users: Path) -> None:
    users.write_text("ann:{PLAIN}hunter2\n")
    done = run(users, "add", "bob", input="secret\n")
    assert done.exit_code == 1
    assert f"{users}: line 1: " in done.stderr
    assert "hunter2" not in done.stderr
    assert users.read_text() == "ann:{PLAIN}hunter2\n"


def test_the_file_is_the_configurations(tmp_path: Path) -> None:
    config = tmp_path / "mailagent.toml"
    config.write_text('[whitelist]\nhosts = ["example.org"]\nusers = ["ann"]\n[directory]\nusers = "people"\n')
    done = CliRunner().invoke(main, ["user", "add", "ann", "--config", str(config)], input="secret\n")
    assert done.exit_code == 0
    assert checks(tmp_path / "people", "ann", b"secret")


def test_where_nobody_is_listed_people_are_told_how_to_begin(users: Path) -> None:
    listed = run(users, "list")
    assert (listed.stdout, listed.stderr) == ("", "no users yet: mailagent user add NAME\n")


def test_without_a_configured_file_one_must_be_named(tmp_path: Path) -> None:
    config = tmp_path / "mailagent.toml"
    config.write_text('[whitelist]\nhosts = ["example.org"]\nusers = ["ann"]\n')
    done = CliRunner().invoke(main, ["user", "list", "--config", str(config)])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "--users" in done.stderr


def test_a_link_is_followed_and_stays(users: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    users.symlink_to(tmp_path / "elsewhere" / "people")
    assert run(users, "add", "ann", input="secret\n").exit_code == 0
    assert users.is_symlink()
    assert checks(tmp_path / "elsewhere" / "people", "ann", b"secret")
