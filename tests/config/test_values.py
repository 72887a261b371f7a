"""What a setting may hold, kind by kind."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.values import (
    KINDS,
    Kind,
    count,
    destination_parts,
    domain,
    endpoint,
    path,
    role,
    user_key,
    user_name,
)


@pytest.mark.parametrize(
    "name",
    ["hostmeister.de", "localhost", "MX1.Example.ORG", "bücher.example", "xn--bcher-kva.example", "3com.example"],
)
def test_a_domain_name_is_kept_as_it_is_spelled(name: str) -> None:
    assert domain(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        "example.org.",
        "-a.example",
        "a_b.example",
        "no such",
        "192.0.2.1",
        "[192.0.2.1]",
        "a/b",
        "..",
        3,
        "a" * 64 + ".example",
        "a." * 200 + "example",
        "\udcff.example",
        None,
    ],
)
def test_what_is_no_domain_name_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        domain(name)


@pytest.mark.parametrize("name", ["user1", "Ann", "ann.b", "müller", "user one", "a+b", 'a"b', "x" * 64])
def test_a_users_name_is_kept_as_it_is_spelled(name: str) -> None:
    assert user_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".ann", "a/b", "a\0b", "a\nb", "\x7f", "\u202ea", "ann@example.org", "\udcff"]
)
def test_a_name_that_could_leave_its_directory_or_garble_a_line_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        user_name(name)


@pytest.mark.parametrize("name", ["x" * 65, "ü" * 33])
def test_a_name_longer_than_a_local_part_may_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        user_name(name)


@given(st.text())
def test_a_users_name_that_passes_is_one_component_of_a_path(name: str) -> None:
    try:
        user_name(name)
    except ValueError:
        return
    assert os.path.normpath(os.path.join("/mailboxes", name)) == f"/mailboxes/{name}"


def test_two_spellings_of_one_user_have_one_key() -> None:
    assert user_key("Müller") == user_key("mu\u0308LLER") == user_key("MÜLLER")
    assert user_key("straße") == user_key("STRASSE")


@pytest.mark.parametrize(
    "text",
    [
        "tcp:25",
        "tcp:2525:interface=127.0.0.1",
        "tcp:interface=127.0.0.1:port=25",
        r"tcp6:25:interface=\:\:1",
        "systemd:domain=INET:name=smtp",
        "unix:/run/mailagent.sock",
        "haproxy:tcp:25",
    ],
)
def test_a_twisted_endpoint_is_taken(text: str) -> None:
    assert endpoint(text) == text


@pytest.mark.parametrize(
    "text", ["", "2525", ":25", "tcp:", "tcp:smtp", "tcp:65536", "tcp:interface=127.0.0.1", "tcp:25\n", 25]
)
def test_what_cannot_be_an_endpoint_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        endpoint(text)


@pytest.mark.parametrize("text", ["", "a\0b", "a\nb", 3, None])
def test_what_cannot_be_a_path_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        path(text)


@pytest.mark.parametrize("number", [0, -1, True, 1.0, "1"])
def test_a_count_is_a_whole_number_of_at_least_one(number: object) -> None:
    assert count(1) == 1
    with pytest.raises(ValueError, match=r"."):
        count(number)


def test_a_listener_can_only_have_a_role_there_is() -> None:
    assert [role(name) for name in ("mx", "submission", "submissions")] == ["mx", "submission", "submissions"]
    others: tuple[object, ...] = ("relay", "MX", [], 3)
    for other in others:
        with pytest.raises(ValueError, match=r"."):
            role(other)


@given(
    st.sampled_from(list(KINDS.values())),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.dates(),
)
def test_reading_a_value_raises_nothing_but_value_error(kind: Kind, value: object) -> None:
    with suppress(ValueError):
        kind.read(value)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("mx", ("mx", "", 0)),
        ("smtp:smart.example:587", ("smtp", "smart.example", 587)),
        ("lmtp:[2001:db8::1]:24", ("lmtp", "2001:db8::1", 24)),
        ("lmtp:unix:/run/dovecot/lmtp", ("lmtp", "/run/dovecot/lmtp", 0)),
    ],
)
def test_a_destination_comes_apart(given: str, parts: tuple[str, str, int]) -> None:
    assert destination_parts(given) == parts
