"""Passwords for several servers in one file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.compose.account import NoPassword
from mailagent.compose.netrc_file import MAX_FILE, login_in

HOST = "mail.example.org"
FILE = f"""# mine
machine other.example login eve password oyster
machine {HOST} login ann password "open s\xe9same"
machine imap.example.org login ann password clam
machine nobody.example password whelk
machine nothing.example login ann
machine nul.example login ann password a\0b
default login ann password limpet
"""
WORD = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


def written(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "netrc"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("user", [None, "ann"])
@pytest.mark.parametrize("host", [HOST, HOST.upper()])
def test_the_servers_entry_has_user_and_password(tmp_path: Path, host: str, user: str | None) -> None:
    assert login_in(written(tmp_path, FILE.encode()), host, user) == ("ann", "open s\xe9same")


@pytest.mark.parametrize(
    ("host", "user", "reason"),
    [
        ("mx.example.org", "ann", "no entry for machine mx.example.org"),
        ("default", "ann", "no entry for machine default"),
        (HOST, "bob", f"the entry for machine {HOST} is not for login bob"),
        ("nobody.example", None, "the entry for machine nobody.example has no login"),
        ("nothing.example", None, "the entry for machine nothing.example has no password"),
        ("nul.example", None, "the entry for machine nul.example has no password"),
    ],
)
def test_what_is_not_there_is_named_with_the_file(tmp_path: Path, host: str, user: str | None, reason: str) -> None:
    file = written(tmp_path, FILE.encode())
    with pytest.raises(NoPassword) as caught:
        login_in(file, host, user)
    assert str(caught.value) == f"{file}: {reason}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_can_read_or_write_is_not_read(tmp_path: Path, mode: int) -> None:
    with pytest.raises(NoPassword, match=rf"netrc: it is open to others \(mode {mode:04o}\)"):
        login_in(written(tmp_path, FILE.encode(), mode), HOST, "ann")


def test_a_file_that_is_not_there_or_none_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "netrc", 0o600)
    with pytest.raises(NoPassword, match="missing: No such file"):
        login_in(tmp_path / "missing", HOST, None)
    with pytest.raises(NoPassword, match="netrc: it is not a file"):
        login_in(tmp_path / "netrc", HOST, None)


def test_a_file_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(NoPassword, match=f"at most {MAX_FILE} octets"):
        login_in(written(tmp_path, b"#" * (MAX_FILE + 1)), HOST, None)


@pytest.mark.parametrize(
    "entry", ["login ann password open oyster", "password ann oyster", "oyster", "login ann pasword oyster"]
)
def test_a_mistake_in_the_file_is_told_by_its_line_and_not_shown(tmp_path: Path, entry: str) -> None:
    file = written(tmp_path, f"machine a.example login x password y\nmachine {HOST} {entry}".encode())
    with pytest.raises(NoPassword, match="near line 2: not in the form") as caught:
        login_in(file, HOST, None)
    assert "oyster" not in str(caught.value)


@given(WORD, WORD)
def test_any_user_and_password_can_be_quoted(user: str, password: str) -> None:
    quoted = ('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in (user, password))
    content = "machine {} login {} password {}\n".format(HOST, *quoted)
    with TemporaryDirectory() as folder:
        assert login_in(written(Path(folder), content.encode()), HOST, user) == (user, password)


WORDS = st.sampled_from(["machine", HOST, "login", "ann", "password", "default", "macdef", "#", '"', "\\", "\n", "\0"])


@given(
    st.lists(WORDS | st.text(max_size=3)).map(" ".join).map(lambda text: text.encode("utf-8", "replace")) | st.binary()
)
def test_any_file_has_a_login_or_none(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = written(Path(folder), content)
        with suppress(NoPassword):
            assert all(login_in(file, HOST, None))
