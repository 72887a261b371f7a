"""The users file: what is read, what is refused, what a change leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.directory import verifiers
from mailagent.directory.users_file import BadUsersFile, LoginExists, NoSuchLogin, User, UsersFile
from mailagent.directory.verifiers import BadVerifier, ScramVerifier, UnfitPassword
from mailagent.envelope.address import Address

#: "secret", made by Dovecot's neighbours and by us: the library's, and one from RFC 7677's own numbers.
ARGON2 = "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$QvXZqwL3ek1Tae+r0DHgmw$sAkbvIPmNWSNru2p05Qed4RM245TuQl8XeSysLHKpBE"
PENCIL = (
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
SCRAM = ScramVerifier.make("secret", b"0123456789abcdef", 4096)


def test_the_verifier_of_rfc_7677_checks_its_password_and_no_other() -> None:
    verifier = verifiers.read(PENCIL)
    assert isinstance(verifier, ScramVerifier)
    assert verifier.check(b"pencil")
    assert not verifier.check(b"Pencil")
    assert not verifier.check(b"\xff")
    assert not verifier.check("\U0001f600".encode())
    assert str(verifier) == PENCIL


def test_ours_have_a_hundred_thousand_rounds() -> None:
    assert ScramVerifier.make("secret", b"0123456789abcdef").rounds >= 100_000


@pytest.mark.parametrize("password", ["", "\U0001f600", "a\x00b"])
def test_a_password_no_client_could_send_is_refused(password: str) -> None:
    with pytest.raises(UnfitPassword):
        ScramVerifier.make(password, b"0123456789abcdef", 4096)


@pytest.mark.parametrize(
    ("text", "password"),
    [
        (ARGON2, b"x"),
        (
            "{SHA512-CRYPT}$6$v/Zbk4OVp4T8Qayh$5BVl0d3wcIxX8bzNBKQKmIkLuQI/2np0g0wbzIURAz2hMFSTzVd77AhIB52VGUBefGaQ/"
            "TzIoY/OkLqUeE2K4.",
            None,
        ),
        ("{BLF-CRYPT}$2y$04$OrcrT2/S0kl5aQ.plW38z.e0ugpHqwWmreQdx5Z.hQyIV.ei6KBk.", b"x"),
        ("$2b$04$OrcrT2/S0kl5aQ.plW38z.e0ugpHqwWmreQdx5Z.hQyIV.ei6KBk.", b"x"),
    ],
)
def test_imported_hashes_check_a_password(text: str, password: bytes | None) -> None:
    verifier = verifiers.read(text)
    assert password is None or verifier.check(password)
    assert not verifier.check(b"y" * 100)
    assert not verifier.check(b"a\x00b")


def test_crypt_knows_its_password() -> None:
    from passlib.hash import sha256_crypt, sha512_crypt

    for scheme in (sha512_crypt, sha256_crypt):
        assert verifiers.read("{CRYPT}" + scheme.using(rounds=1000).hash("secret")).check(b"secret")


@pytest.mark.parametrize("text", ["{PLAIN}secret", "secret", "", "{ARGON2ID}x", "{SCRAM-SHA-256}1,a,b,c", "{MD5}x"])
def test_what_is_no_hash_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(BadVerifier) as caught:
        verifiers.read(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("module", ["argon2", "passlib", "bcrypt"])
def test_a_hash_whose_library_is_missing_names_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifiers, "find_spec", lambda name: None)
    with pytest.raises(BadVerifier, match=r"argon2: pip install mailagent\[hashes\]"):
        verifiers.read(ARGON2)


@given(st.binary())
def test_any_octets_are_a_file_or_refused(content: bytes) -> None:
    try:
        parsed = UsersFile.parse(content)
    except BadUsersFile:
        return
    assert UsersFile.parse(bytes(parsed)) == parsed


@given(st.text())
def test_any_text_is_a_verifier_or_refused(text: str) -> None:
    for prefix in ("", "{SCRAM-SHA-256}", "{ARGON2ID}"):
        with pytest.raises(BadVerifier):
            verifiers.read(prefix + text)


def test_a_dovecot_passwd_file_is_read() -> None:
    ann_line = f"Ann:{PENCIL}:1000:1000::/home/ann::userdb_x=1 addresses=sales@example.org,i@x.example"
    text = f"# people\n{ann_line}\n\nbob:{ARGON2}\n"
    parsed = UsersFile.parse(text.encode())
    ann, bob = parsed.find("ann"), parsed.find("BOB")
    assert ann is not None
    assert bob is not None
    assert (ann.name, ann.addresses) == ("Ann", (Address("sales", "example.org"), Address("i", "x.example")))
    assert bob.addresses == ()
    assert parsed.find("cat") is None


def test_lines_end_as_they_do_for_dovecot() -> None:
    content = f"# a form\x0cfeed\r\nann:{SCRAM}:::Ann\u2028O'Hara\x85\nbob:{SCRAM}"
    file = UsersFile.parse(content.encode())
    assert list(file.users) == ["ann", "bob"]
    assert bytes(file).decode() == content.replace("\r\n", "\n") + "\n"
    assert UsersFile.parse(b"").lines == ()


def test_all_that_is_wrong_is_told_by_line() -> None:
    text = f"ann:{PENCIL}\nANN:{PENCIL}\nbob\n:{PENCIL}\na b:{PENCIL}\ncat:hunter2\ndan:{PENCIL}::::::addresses=x\n"
    with pytest.raises(BadUsersFile) as caught:
        UsersFile.parse(text.encode())
    assert [line.partition(":")[0] for line in caught.value.lines] == [f"line {n}" for n in range(2, 8)]
    assert "hunter2" not in str(caught.value)


def test_changes_leave_other_lines_and_fields_alone() -> None:
    before = UsersFile.parse(f"# people\nann:{ARGON2}:1:2:A:/h:/s:x=1\nbob:{PENCIL}\n".encode())
    after = before.changing("ANN", SCRAM).adding("cat", SCRAM, ["c@example.org"]).removing("bob")
    assert bytes(after).decode().splitlines() == [
        "# people",
        f"ann:{SCRAM}:1:2:A:/h:/s:x=1",
        f"cat:{SCRAM}::::::addresses=c@example.org",
    ]


def test_a_secret_is_given_once() -> None:
    first = UsersFile.parse(b"").with_secret(b"one")
    assert first.secret == UsersFile.parse(bytes(first)).secret == first.with_secret(b"two").secret == b"one"


def test_names_are_there_once_or_not_at_all() -> None:
    users = UsersFile.parse(f"ann:{PENCIL}\n".encode())
    with pytest.raises(LoginExists):
        users.adding("ANN", SCRAM)
    with pytest.raises(NoSuchLogin):
        users.changing("bob", SCRAM)
    with pytest.raises(NoSuchLogin):
        users.removing("bob")


@pytest.mark.parametrize("name", ["", "a:b", "a b", "#a", "a\nb", "x" * 256])
def test_a_name_that_would_spoil_the_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        UsersFile.parse(b"").adding(name, SCRAM)


@pytest.mark.parametrize("address", ["a@b,c@d", "a b@example.org", "x", "a@b\nc:d"])
def test_an_address_that_would_spoil_the_file_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        UsersFile.parse(b"").adding("ann", SCRAM, [address])


def test_nothing_secret_is_shown_by_repr() -> None:
    user = UsersFile.parse(f"ann:{PENCIL}\n".encode()).find("ann")
    assert isinstance(user, User)
    assert "W22Z" not in repr(user)
    assert "5d8oPm" not in repr(user)


def test_an_empty_line_is_nobody() -> None:
    file = UsersFile.parse(b"")
    file = UsersFile.parse(b"\n" + bytes(file.adding("ann", ScramVerifier.make("secret", b"0123456789abcdef", 4096))))
    with pytest.raises(NoSuchLogin):
        file.removing("")
