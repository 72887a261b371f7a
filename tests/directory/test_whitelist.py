"""The whitelist: who receives mail here, and where."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from mailagent.config.structure import build
from mailagent.directory.whitelist import Whitelist
from mailagent.envelope.address import Address
from mailagent.envelope.forward import Forward
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import IDirectory, NoSuchHost, NoSuchUser

TOML = """
hostname = "mx.mailagent.example"
mailboxes = { path = "/mail" }

[whitelist]
hosts = ["hostmeister.de", "HostGator.com", "bücher.example"]
users = ["user1", "User2", "müller", "user1+exact", "user one"]
aliases = { sales = ["user1", "user2", "USER1"], info = "user2" }

[hosts."own.example"]
users = ["ann", "bob"]
aliases = { user1 = "bob" }
catch_all = "bob"
postmaster = "bob"

[hosts."straße.example"]
users = ["postmaster", "cy"]
postmaster = "cy"
"""


def whitelist(toml: str) -> Whitelist:
    config, problems = build(tomllib.loads(toml))
    assert problems == []
    return Whitelist.from_config(config)


DIRECTORY = whitelist(TOML)


def to(address: str, directory: Whitelist = DIRECTORY) -> list[str]:
    """Where mail for an address goes, as C{owner path}."""
    local, at, domain = address.rpartition("@")
    recipient = Address(local, domain) if at else Address(address, "")
    return [told(target) for target in directory.resolve(recipient)]


def told(target: Mailbox | Forward) -> str:
    """A target as the tests compare it."""
    if isinstance(target, Mailbox):
        return f"{target.owner} {target.path}"
    return f"{target.address} by {target.alias}, {target.owner} hears of it"


def test_it_is_a_directory() -> None:
    assert verifyObject(IDirectory, DIRECTORY)


def test_a_recipient_is_accepted_if_host_and_user_are_listed() -> None:
    assert to("user1@hostmeister.de") == ["user1@hostmeister.de /mail/user1"]


def test_every_user_of_the_whitelist_has_one_mailbox_for_all_its_hosts() -> None:
    assert to("user1@hostgator.com") == ["user1@hostgator.com /mail/user1"]


def test_an_unknown_user_at_our_host_is_no_such_user() -> None:
    with pytest.raises(NoSuchUser):
        to("user3@hostmeister.de")


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "sub.hostmeister.de", "[127.0.0.1]", "hostmeister.de.", "xn--a", "ä" * 300]
)
def test_a_host_that_is_not_ours_is_no_such_host(host: str) -> None:
    with pytest.raises(NoSuchHost):
        to("user1@" + host)


def test_hosts_compare_case_insensitive() -> None:
    assert to("user1@HOSTMEISTER.de") == to("user1@hostmeister.de")
    assert to("user1@hostgator.COM") == ["user1@hostgator.com /mail/user1"]


@pytest.mark.parametrize("host", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "XN--BCHER-KVA.example"])
def test_hosts_compare_idna_equal(host: str) -> None:
    assert to("user1@" + host) == ["user1@xn--bcher-kva.example /mail/user1"]


@pytest.mark.parametrize("user", ["user2", "USER2", "User2"])
def test_users_compare_case_insensitive_and_keep_the_configured_spelling(user: str) -> None:
    assert to(user + "@hostmeister.de") == ["User2@hostmeister.de /mail/User2"]


@pytest.mark.parametrize("user", ["müller", "MÜLLER", "mu\u0308ller"])
def test_users_compare_equal_in_any_unicode_form(user: str) -> None:
    assert to(user + "@hostmeister.de") == ["müller@hostmeister.de /mail/müller"]


def test_a_tag_is_ignored() -> None:
    assert to("User1+tag@hostmeister.de") == ["user1@hostmeister.de /mail/user1"]
    assert to("user1+a+b@hostmeister.de") == ["user1@hostmeister.de /mail/user1"]


def test_an_exact_user_wins_over_a_tag() -> None:
    assert to("user1+exact@hostmeister.de") == ["user1+exact@hostmeister.de /mail/user1+exact"]


@pytest.mark.parametrize("user", ["user3+user1", "+user1", "+", ""])
def test_a_tag_makes_nobody_a_user(user: str) -> None:
    with pytest.raises(NoSuchUser):
        to(user + "@hostmeister.de")


def test_a_local_part_that_had_to_be_quoted_is_a_user_like_any_other() -> None:
    assert to("user one@hostmeister.de") == ['"user one"@hostmeister.de /mail/user one']


def test_an_alias_goes_to_each_of_its_users_once() -> None:
    assert to("Sales@hostmeister.de") == ["user1@hostmeister.de /mail/user1", "User2@hostmeister.de /mail/User2"]


def test_an_alias_may_carry_a_tag() -> None:
    assert to("info+x@hostmeister.de") == ["User2@hostmeister.de /mail/User2"]


def test_a_host_of_its_own_has_its_own_users_mailboxes_and_aliases() -> None:
    assert to("ann@own.example") == ["ann@own.example /mail/own.example/ann"]
    assert to("user1@own.example") == ["bob@own.example /mail/own.example/bob"]


def test_an_idna_hosts_mailboxes_are_under_its_a_label() -> None:
    assert to("cy@straße.example") == ["cy@xn--strae-oqa.example /mail/xn--strae-oqa.example/cy"]


def test_the_catch_all_gets_what_is_nobody_elses_at_its_host() -> None:
    assert to("whoever+x@own.example") == ["bob@own.example /mail/own.example/bob"]
    assert to("ann+x@own.example") == ["ann@own.example /mail/own.example/ann"]


@pytest.mark.parametrize("host", ["hostmeister.de", "hostgator.com"])
@pytest.mark.parametrize("name", ["postmaster", "Postmaster", "POSTMASTER", "postmaster+x"])
def test_postmaster_is_the_first_listed_user_at_every_listed_host(name: str, host: str) -> None:
    assert to(f"{name}@{host}") == [f"user1@{host} /mail/user1"]


def test_postmaster_is_the_configured_user() -> None:
    assert to("postmaster@own.example") == ["bob@own.example /mail/own.example/bob"]


def test_a_listed_user_named_postmaster_is_postmaster_whatever_is_configured() -> None:
    assert to("postmaster@straße.example") == [
        "postmaster@xn--strae-oqa.example /mail/xn--strae-oqa.example/postmaster"
    ]


@pytest.mark.parametrize(
    "name", ["postmaster", "PostMaster", "postmaster@mx.mailagent.example", "postmaster@MX.mailagent.example"]
)
def test_postmaster_without_a_domain_and_at_the_servers_name_is_the_first_hosts(name: str) -> None:
    assert to(name) == ["user1@hostmeister.de /mail/user1"]


def test_without_a_whitelist_the_servers_postmaster_is_the_first_tables() -> None:
    directory = whitelist(
        'mailboxes.path = "/mail"\n[hosts."b.example"]\nusers = ["bob"]\n[hosts."a.example"]\nusers = ["ann"]'
    )
    assert to("postmaster", directory) == ["bob@b.example /mail/b.example/bob"]


@pytest.mark.parametrize("name", ["user1", "user1@mx.mailagent.example", "", "whoever"])
def test_nobody_but_postmaster_is_without_a_domain_or_at_the_servers_name(name: str) -> None:
    with pytest.raises(NoSuchUser):
        to(name)


def test_no_catch_all_gets_what_is_sent_to_the_servers_name() -> None:
    directory = whitelist('hostname = "mx.example"\n[hosts."a.example"]\nusers = ["ann"]\ncatch_all = "ann"')
    for name in ("whoever", "whoever@mx.example", "@mx.example"):
        with pytest.raises(NoSuchUser):
            to(name, directory)


def test_a_server_whose_own_name_is_listed_takes_mail_there_as_anywhere() -> None:
    directory = whitelist(TOML.replace("mx.mailagent.example", "hostgator.com"))
    assert to("user1@hostgator.com", directory) == ["user1@hostgator.com /mail/user1"]
    assert to("postmaster@hostgator.com", directory) == ["user1@hostgator.com /mail/user1"]


def test_every_mailbox_is_listed_once_in_the_order_of_configuration() -> None:
    assert [mailbox.path for mailbox in DIRECTORY.mailboxes()] == [
        "/mail/user1",
        "/mail/User2",
        "/mail/müller",
        "/mail/user1+exact",
        "/mail/user one",
        "/mail/own.example/ann",
        "/mail/own.example/bob",
        "/mail/xn--strae-oqa.example/postmaster",
        "/mail/xn--strae-oqa.example/cy",
    ]


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    directory = whitelist('whitelist = { hosts = ["a.example"], users = ["ann"] }')
    assert [mailbox.path for mailbox in directory.mailboxes()] == ["/mailboxes/ann"]


def paths(mailboxes: Iterable[Mailbox]) -> set[str]:
    return {mailbox.path for mailbox in mailboxes}


domains = st.sampled_from(["", "own.example", "hostmeister.de", "bücher.example", "mx.mailagent.example"]) | st.text()
locals_ = st.sampled_from(["user1", "sales", "../user1", "postmaster", "user1+", "a" * 5000]) | st.text()


@given(st.builds(Address, locals_, domains))
def test_whatever_an_address_holds_the_answer_is_listed_mailboxes_or_a_refusal(recipient: Address) -> None:
    try:
        found = DIRECTORY.resolve(recipient)
    except (NoSuchHost, NoSuchUser):
        return
    assert found
    assert len(set(found)) == len(found)
    assert {target.path for target in found if isinstance(target, Mailbox)} <= paths(DIRECTORY.mailboxes())


@given(st.sampled_from(["user1", "sales", "Müller", "nobody", "postmaster"]), st.text("ab+."))
def test_case_and_tag_change_nothing(user: str, tag: str) -> None:
    def found(name: str) -> tuple[Mailbox | Forward, ...]:
        try:
            return DIRECTORY.resolve(Address(name, "hostgator.com"))
        except NoSuchUser:
            return ()

    assert found(user) == found(user.upper()) == found(f"{user}+-{tag}")


def test_an_address_of_absurd_length_is_refused() -> None:
    with pytest.raises(NoSuchUser):
        DIRECTORY.resolve(Address("a" * 257, "own.example"))


# Where aliases lead outside

OUTSIDE = whitelist("""
hostname = "mx.mailagent.example"
mailboxes = { path = "/mail" }
whitelist.hosts = ["a.example", "b.example"]
whitelist.users = ["ann", "bob"]
whitelist.aliases.Sales = ["ann", "Someone@Elsewhere.example", "someone@elsewhere.example", "sales@own.example"]
whitelist.aliases.owner-SALES = "bob"
whitelist.aliases.both = ["ann", "ann@b.example", "sales@a.example", "ANN+tag@a.example"]
whitelist.aliases.root = "postmaster@mx.mailagent.example"

[hosts."own.example"]
users = ["cy"]
aliases = { sales = ["cy", "x@elsewhere.example", "bob@a.example"] }
catch_all = "all@elsewhere.example"
""")


def test_an_alias_leads_outside_and_its_owner_hears_of_failures() -> None:
    assert to("sales+tag@b.example", OUTSIDE) == [
        "ann@b.example /mail/ann",
        "Someone@Elsewhere.example by Sales@b.example, owner-SALES@b.example hears of it",
        "someone@elsewhere.example by Sales@b.example, owner-SALES@b.example hears of it",
        "cy@own.example /mail/own.example/cy",
        "x@elsewhere.example by sales@own.example, postmaster@own.example hears of it",
        "bob@a.example /mail/bob",
    ]


def test_an_address_at_one_of_our_hosts_is_looked_up_there_and_each_target_stands_once() -> None:
    assert to("both@a.example", OUTSIDE)[0] == "ann@a.example /mail/ann"
    assert to("both@a.example", OUTSIDE)[1:] == to("sales@a.example", OUTSIDE)[1:]
    assert to("root@a.example", OUTSIDE) == ["ann@a.example /mail/ann"]


def test_a_catch_all_leads_outside_by_the_name_that_was_asked_for() -> None:
    assert to("Whoever@own.example", OUTSIDE) == [
        "all@elsewhere.example by Whoever@own.example, postmaster@own.example hears of it"
    ]


HANDED_OVER = whitelist("""
hostname = "mx.mailagent.example"
mailboxes = { path = "/mail" }
whitelist.hosts = ["a.example", "bücher.example"]
whitelist.users = ["ann", "bob"]
whitelist.aliases.sales = ["ann", "ann@a.example"]

[hosts."own.example"]
users = ["cy"]

[routes]
"bücher.example" = { to = "lmtp:127.0.0.1:24" }
"own.example" = { to = "lmtp:unix:/run/lmtp" }
"a.example" = { to = "smtp:127.0.0.1:25" }
"*" = { to = "lmtp:127.0.0.1:26" }
""")


def test_the_users_of_a_host_with_a_route_of_its_own_by_lmtp_are_handed_over() -> None:
    handed_over = "ann@xn--bcher-kva.example by ann@xn--bcher-kva.example, postmaster@xn--bcher-kva.example hears of it"
    assert to("Ann+tag@Bücher.example", HANDED_OVER) == [handed_over]
    assert to("sales@xn--bcher-kva.example", HANDED_OVER)[0] == handed_over
    assert to("ann@a.example", HANDED_OVER) == ["ann@a.example /mail/ann"]
    with pytest.raises(NoSuchUser):
        to("nobody@bücher.example", HANDED_OVER)


def test_a_host_that_is_handed_over_needs_no_mailboxes() -> None:
    assert [each.path for each in HANDED_OVER.mailboxes()] == ["/mail/ann", "/mail/bob"]
