"""Changes of the directory: whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.directory.users_file import LoginExists, NoSuchLogin
from mailagent.stored_directory import changing, rows
from mailagent.stored_directory.changing import Change, Refused
from tests.database.support import Database
from tests.directory.test_users_file import SCRAM


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path) as database:
        yield database
        database.read(rows.read)


def make(database: Database, *changes: Change) -> None:
    for change in changes:
        database.write(changing.make, "mx.example.org", change)


def test_what_would_lead_nowhere_is_refused_and_nothing_of_it_kept(database: Database) -> None:
    make(
        database,
        changing.add_host("Example.org", shared=False),
        changing.add_user("ann@example.org", None),
        changing.add_alias("sales@EXAMPLE.org", ["ann", "x@elsewhere.example"]),
    )
    before = database.read(rows.read)
    refused = [
        changing.add_host("example.org", shared=True),
        changing.remove_host("example.org"),
        changing.remove_user("ann@example.org"),
        changing.add_user("bob@other.example", None),
        changing.add_user("sales@example.org", None),
        changing.add_alias("sales@example.org", ["bob"]),
        changing.add_alias("loop@example.org", ["loop@example.org"]),
        changing.add_alias("../x@example.org", ["ann"]),
        changing.remove_alias("sales@example.org", ["bob"]),
    ]
    for change in refused:
        with pytest.raises(Refused):
            make(database, change)
    with pytest.raises(LoginExists):
        make(database, changing.add_user("ANN@example.org", None))
    with pytest.raises(NoSuchLogin):
        make(database, changing.remove_user("bob@example.org"))
    assert database.read(rows.read) == before


def test_each_change_makes_the_version_greater(database: Database) -> None:
    before = database.read(rows.version)
    make(database, changing.add_host("one.example", shared=True), changing.add_user("ann", None))
    assert database.read(rows.version) == before + 2


@pytest.mark.parametrize("name", ["../x", ".x", "a/b", ""])
def test_no_user_is_named_like_a_path(name: str) -> None:
    with pytest.raises(Refused):
        changing.add_user(name, None)


@pytest.mark.parametrize("address", ["a,b@example.org", "x@example.org,b@example.org", "nobody", ""])
@pytest.mark.parametrize("verifier", [None, str(SCRAM)])
def test_no_address_is_taken_that_would_be_read_as_another(
    database: Database, address: str, verifier: str | None
) -> None:
    with pytest.raises(Refused, match="address"):
        make(database, changing.add_user("ann", verifier, ["ann@example.org", address]))


def test_a_login_that_no_server_would_use_is_refused(database: Database) -> None:
    with pytest.raises(Refused, match="login of bob"):
        make(database, changing.add_user("bob", "secret"))
    make(database, changing.add_user("ann", str(SCRAM)))
    with pytest.raises(Refused, match="login of ann") as caught:
        make(database, changing.set_password("ann", "secret"))
    assert "secret" not in str(caught.value)
    assert [row.verifier for row in database.read(rows.read).users] == [str(SCRAM)]


def test_a_login_that_was_spoilt_by_hand_does_not_stop_other_changes(database: Database) -> None:
    make(database, changing.add_user("ann", str(SCRAM)))
    database.execute("UPDATE users SET verifier = 'nonsense'")
    make(database, changing.add_user("bob", str(SCRAM)), changing.set_password("ann", str(SCRAM)))
    found = {row.name: row.verifier for row in database.read(rows.read).users}
    assert found == {"ann": str(SCRAM), "bob": str(SCRAM)}
