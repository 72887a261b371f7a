"""The directory put together from rows: what is set aside, and that no row leads out of the mailboxes."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from mailagent.config import Config, MailboxSettings
from mailagent.config.values import ConfiguredPath, Domain
from mailagent.directory.stored import AliasRow, HostRow, Rows, Stored, StoredDirectory, UnknownDirectory, UserRow
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import IDirectory, NoSuchUser, StorageFailed
from tests.directory.test_users_file import SCRAM

CONFIG = Config(hostname=Domain("mx.example.org"), mailboxes=MailboxSettings(ConfiguredPath("/mail")))
HOSTS = [HostRow("example.org", False), HostRow("one.example", True), HostRow("two.example", True)]
USERS = [UserRow("example.org", "ann", str(SCRAM), "info@example.org"), UserRow("", "bob", None, "")]


def stored(users: list[UserRow] | None = None, *aliases: AliasRow) -> Stored:
    return Stored.of(Rows(1, b"", HOSTS, USERS + (users or []), aliases), "mx.example.org")


def places(found: Stored, address: str) -> list[str]:
    local, _, host = address.rpartition("@")
    directory = StoredDirectory.of(found, CONFIG)
    targets = directory.resolve(Address(local, host))
    return [each.path if isinstance(each, Mailbox) else str(each.address) for each in targets]


def test_users_have_mailboxes_where_configured_ones_would() -> None:
    found = stored()
    assert places(found, "ann+tag@example.org") == ["/mail/example.org/ann"]
    assert places(found, "bob@two.example") == places(found, "bob@one.example") == ["/mail/bob"]
    assert found.aside == ()
    with pytest.raises(NoSuchUser):
        places(found, "bob@example.org")


def test_users_with_a_verifier_log_in_by_their_full_names() -> None:
    logins = stored().logins
    user = logins.find("Ann@example.org")
    assert user is not None
    assert (user.name, user.addresses) == ("ann@example.org", (Address("info", "example.org"),))
    assert logins.find("bob") is None


def test_aliases_lead_where_configured_ones_would() -> None:
    found = stored(
        None,
        AliasRow("example.org", "sales", "Ann"),
        AliasRow("example.org", "sales", "x@elsewhere.example"),
        AliasRow("", "", "ann@example.org"),
    )
    assert places(found, "sales@example.org") == ["/mail/example.org/ann", "x@elsewhere.example"]
    assert places(found, "whoever@one.example") == ["/mail/example.org/ann"]
    assert found.aside == ()


@pytest.mark.parametrize("name", ["..", ".x", "a/b", "", "a\0b", "a@b", "x" * 65, "example.org", "BOB", "\udcff"])
def test_a_user_who_cannot_be_is_set_aside_and_nobody_else(name: str) -> None:
    found = stored([UserRow("", name, str(SCRAM), "")])
    assert len(found.aside) == 1
    assert places(found, "bob@one.example") == ["/mail/bob"]
    assert len(found.logins.users) == 1


def test_mail_for_a_name_set_aside_is_our_trouble() -> None:
    found = stored([UserRow("", ".cat", None, "")], AliasRow("", "dog", "nobody"))
    for name in (".cat", "dog", "dog+tag"):
        with pytest.raises(StorageFailed):
            places(found, f"{name}@one.example")


def test_a_broken_verifier_costs_the_login_and_not_the_mailbox() -> None:
    found = stored([UserRow("", "cat", "{PLAIN}hunter2", "")])
    assert places(found, "cat@one.example") == ["/mail/cat"]
    assert found.logins.find("cat") is None
    assert "hunter2" not in str(found.aside)


def test_of_an_alias_only_what_leads_astray_is_set_aside() -> None:
    found = stored(
        None,
        AliasRow("example.org", "a", "b@example.org"),
        AliasRow("example.org", "a", "ann"),
        AliasRow("example.org", "b", "a@example.org"),
        AliasRow("example.org", "c", "gone@one.example"),
    )
    assert places(found, "a@example.org") == ["/mail/example.org/ann"]
    assert sorted(aside.what for aside in found.aside) == [
        "alias a@example.org → b@example.org",
        "alias b@example.org → a@example.org",
        "alias c@example.org → gone@one.example",
    ]


_NAMES = st.text(max_size=8) | st.sampled_from(["..", "../x", "ann", "a/b", "example.org", "ann@example.org"])


@given(st.lists(st.tuples(_NAMES, _NAMES, _NAMES), max_size=6))
def test_no_rows_lead_out_of_the_mailboxes(rows: list[tuple[str, str, str]]) -> None:
    hosts = [*HOSTS, *(HostRow(a, bool(b)) for a, b, _ in rows)]
    users = [*USERS, *(UserRow(a, b, c, c) for a, b, c in rows), *(UserRow("", b, None, "") for _, b, _ in rows)]
    found = Stored.of(Rows(1, b"", hosts, users, [AliasRow(*row) for row in rows]), "mx.example.org")
    paths = [mailbox.path for mailbox in StoredDirectory.of(found, CONFIG).mailboxes()]
    assert all(os.path.normpath(path) == path and path.startswith("/mail/") for path in paths)
    assert len(set(paths)) == len(paths)
    assert "/mail/example.org/ann" in paths


def test_before_it_is_read_nothing_is_told_of_anybody() -> None:
    assert verifyObject(IDirectory, UnknownDirectory())
    assert verifyObject(IDirectory, StoredDirectory.of(stored(), CONFIG))
    with pytest.raises(StorageFailed):
        UnknownDirectory().resolve(Address("ann", "example.org"))
    assert UnknownDirectory().mailboxes() == ()
