"""From TOML's tables to settings: every mistake is found, each with its path and what is allowed."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.problems import dotted
from mailagent.config.schema import Config, Limits, settings
from mailagent.config.structure import build

WHITELIST = '[whitelist]\nhosts = ["example.org"]\nusers = ["ann", "bob"]\n'


def problems(toml: str) -> dict[str, str]:
    """What is wrong, by path."""
    return {dotted(problem.path): problem.message for problem in build(tomllib.loads(toml))[1]}


def config(toml: str) -> Config:
    made, wrong = build(tomllib.loads(toml))
    assert wrong == []
    return made


def test_every_setting_but_the_users_has_a_default() -> None:
    made = config(WHITELIST)
    assert made.whitelist.users == ("ann", "bob")
    assert made.mailboxes.path == "mailboxes"
    assert [(listener.endpoint, listener.role) for listener in made.listen] == [("tcp:2525:interface=127.0.0.1", "mx")]
    limits = made.limits
    assert (limits.message_size, limits.recipients, limits.errors) == (26214400, 100, 20)
    assert (limits.idle_time, limits.stop_time) == (300.0, 30.0)


def test_every_setting_can_be_set() -> None:
    made = config(
        """
        hostname = "mx.example.org"
        whitelist = { hosts = ["a.example"], users = ["ann"], catch_all = "ann", postmaster = "ann" }
        hosts."b.example" = { users = ["bob", "cy"], aliases = { sales = ["bob", "cy"], info = "bob" } }
        mailboxes = { path = "/srv/mail" }
        listen = [{ endpoint = "tcp:25" }, { endpoint = "tcp6:25", role = "mx" }]
        limits = { message_size = "1 MB", recipients = 7, errors = 3, idle_time = "1 h", stop_time = "500 ms" }
        """
    )
    assert made.hostname == "mx.example.org"
    assert made.whitelist.catch_all == "ann"
    assert made.whitelist.postmaster == "ann"
    assert made.hosts["b.example"].aliases == {"sales": ("bob", "cy"), "info": ("bob",)}  # type: ignore[index]
    assert made.mailboxes.path == "/srv/mail"
    assert [listener.endpoint for listener in made.listen] == ["tcp:25", "tcp6:25"]
    assert made.limits.message_size == 1_000_000
    assert made.limits.stop_time == 0.5


def test_an_unknown_key_is_told_with_the_closest_and_all_that_are_allowed() -> None:
    assert problems(WHITELIST + "[limits]\nmessagesize = 3") == {
        "limits.messagesize": "unknown key; did you mean message_size? "
        "allowed here: " + ", ".join(field.name for field in settings(Limits))
    }


def test_an_unknown_key_that_resembles_nothing_is_told_with_all_that_are_allowed() -> None:
    assert problems(WHITELIST + "[zzz]") == {
        "zzz": (
            "unknown key; allowed here: hostname, whitelist, hosts, mailboxes, state, workers, listen, tls, limits, "
            "directory, auth, submission, queue, relay, routes"
        )
    }


def test_where_the_configuration_came_from_is_no_setting() -> None:
    assert "source" in problems('source = "x"\n' + WHITELIST)


@pytest.mark.parametrize(
    ("toml", "path", "found"),
    [
        ("whitelist.users = [\"ann\", 3]", "whitelist.users[1]", "found 3"),
        ("whitelist.users = \"ann\"", "whitelist.users", "expected a list, found \"ann\""),
        ("whitelist = 3", "whitelist", "expected a table, found 3"),
        ("hosts = []", "hosts", "expected a table, found []"),
        ("hosts.\"example.net\" = true", 'hosts."example.net"', "expected a table, found true"),
        ("listen = \"tcp:25\"", "listen", "expected a list, found \"tcp:25\""),
        ("listen = [\"tcp:25\"]", "listen[0]", "expected a table, found \"tcp:25\""),
        ("whitelist.aliases = { x = 3 }", "whitelist.aliases.x", "expected a user or an address, or a list of them"),
        ("whitelist.aliases = { x = [3] }", "whitelist.aliases.x[0]", "expected a target"),
        ("whitelist.aliases = []", "whitelist.aliases", "expected a table, found []"),
        ("whitelist.postmaster = 3", "whitelist.postmaster", "expected a user's name"),
        ("limits.recipients = true", "limits.recipients", "expected a count (a whole number, at least 1), found true"),
        ("limits.recipients = \"7\"", "limits.recipients", 'found "7"'),
        ("limits.idle_time = 300", "limits.idle_time", "expected a time"),
        ("limits.idle_time = 2026-11-01", "limits.idle_time", "found 2026-11-01"),
        ("mailboxes.path = 3", "mailboxes.path", "expected a path"),
        ("hostname = \"no host\"", "hostname", "expected a domain name"),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_never_coerced(toml: str, path: str, found: str) -> None:
    assert found in problems(toml)[path]


def test_an_impossible_value_is_told_with_what_is_allowed() -> None:
    wrong = problems(WHITELIST + '[limits]\nmessage_size = "25 potatoes"\n[[listen]]\nrole = "relay"')
    assert wrong == {
        "limits.message_size": 'expected a size (a string such as "25 MiB" or "10 MB", or octets as a whole number; '
        'at least 1), found "25 potatoes"',
        "listen[0].role": 'expected a role (one of "mx", "submission", "submissions", "lmtp"), found "relay"',
    }


def test_unknown_keys_wrong_types_and_impossible_values_are_all_told_at_once() -> None:
    wrong = problems(
        """
        hostnam = "x"
        mailboxes = 3
        [whitelist]
        hosts = ["example.org", "a..b"]
        users = ["ann", 3, "a/b", "Ann"]
        postmaster = "zed"
        [hosts."no host"]
        user = ["a"]
        [hosts."EXAMPLE.ORG"]
        users = ["x"]
        [limits]
        errors = 0
        """
    )
    assert set(wrong) == {
        "hostnam",
        "mailboxes",
        "whitelist.hosts[1]",
        "whitelist.users",
        "whitelist.users[1]",
        "whitelist.users[2]",
        "whitelist.postmaster",
        'hosts."no host"',
        'hosts."no host".user',
        'hosts."EXAMPLE.ORG"',
        "limits.errors",
    }


def test_a_list_of_users_that_is_none_is_not_also_called_missing() -> None:
    assert set(problems('[whitelist]\nhosts = ["example.org"]\nusers = "ann"\npostmaster = "ann"')) == {
        "whitelist.users"
    }


def test_a_misspelled_key_does_not_also_make_its_setting_missing() -> None:
    assert set(problems('[whitelist]\nhost = ["example.org"]\nusers = ["ann"]')) == {"whitelist.host"}


def test_a_mistake_is_told_on_one_printable_line() -> None:
    [message] = problems(WHITELIST + '[limits]\nmessage_size = "\\u001b[2J\\n' + "x" * 1000 + '"').values()
    assert message.isprintable()
    assert len(message) < 300


tables = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hosts", "users", "aliases", "catch_all", "endpoint", "errors", "a.b"])
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["hostname", "whitelist", "hosts", "mailboxes", "listen", "limits", "source"]),
        tables,
        max_size=5,
    )
)
def test_whatever_the_tables_hold_the_answer_is_a_configuration_or_problems(raw: dict[str, Any]) -> None:
    made, wrong = build(raw)
    assert isinstance(made, Config)
    assert wrong or made.whitelist.users or made.hosts
