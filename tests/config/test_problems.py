"""Paths and values as they are shown to an operator."""

from __future__ import annotations

from datetime import date

import pytest

from mailagent.config.problems import KeyPath, dotted, one_of, shown


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("whitelist", "users", 1), "whitelist.users[1]"),
        (("hosts", "example.org", "users"), 'hosts."example.org".users'),
        (("hosts", "a\nb"), 'hosts."a\\nb"'),
        (("hosts", ""), 'hosts.""'),
    ],
)
def test_a_path_is_written_as_toml_writes_keys(path: KeyPath, text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("müller", '"müller"'), (3, "3"), (True, "true"), ([1, "a"], '[1, "a"]'), (date(2026, 11, 1), "2026-11-01")],
)
def test_a_value_is_shown_as_toml_has_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_long_or_unprintable_value_is_shown_short_and_escaped() -> None:
    assert shown("\u202e\x7f") == '"\\u202e\\x7f"'
    assert len(shown("x" * 1000)) == 80


@pytest.mark.parametrize(
    "url",
    [
        "x://ann:secret@db",
        "x://ann:a@secret@db",
        "x://a/secret@db",
        "x://db/m?pasword=secret&x=y",
        'x://ann:"secret@db',
        'x://db/m?password="secret',
    ],
)
def test_what_may_be_secret_in_a_url_is_not_shown(url: str) -> None:
    for value in (url, [url], {"to": url}):
        assert "secret" not in shown(value)
        assert "db" in shown(value)


def test_of_many_names_only_the_first_are_shown() -> None:
    assert one_of(["a", "b"]) == '"a", "b"'
    assert one_of(map(str, range(20))).endswith('"9", …')
