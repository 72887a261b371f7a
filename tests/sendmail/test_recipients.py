"""Addresses out of a header's field, whatever stands around them."""

from __future__ import annotations

from email.headerregistry import Address as Written
from email.headerregistry import Group

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.sendmail.recipients import NotAnAddress, address, addresses

HERE = "here.example"
ANN, BOB = Address("ann", "a.example"), Address("bob", "b.example")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ann@a.example, bob@b.example", [ANN, BOB]),
        (" ann@a.example,\n\tbob@b.example\n", [ANN, BOB]),
        ('"Smith, Ann <x@y>" <ann@a.example>, Bob (a \\) (nested, one) b) <bob@b.example>', [ANN, BOB]),
        ("friends: ann@a.example, Bob <bob@b.example>;", [ANN, BOB]),
        ("friends: ann@a.example;, bob@b.example", [ANN, BOB]),
        ("undisclosed-recipients:;", []),
        ("ann@a.example; bob@b.example", [ANN, BOB]),
        ("John Q. Public <ann@a.example>", [ANN]),
        ("ann @ a . example", [ANN]),
        ("root (Cron Daemon), ann", [Address("root", HERE), Address("ann", HERE)]),
        ('"a b"@a.example', [Address("a b", "a.example")]),
        ('"at@home"', [Address("at@home", HERE)]),
        ("ann@[192.0.2.1]", [Address("ann", "[192.0.2.1]")]),
        ("ann@[IPv6:2001:db8::1]", [Address("ann", "[IPv6:2001:db8::1]")]),
        ("Jörg <jörg@bücher.example>", [Address("jörg", "bücher.example")]),
        (", ,", []),
    ],
)
def test_addresses_are_found(value: str, expected: list[Address]) -> None:
    assert addresses(value, HERE) == expected


@pytest.mark.parametrize(
    "value",
    [
        "ann@a.example bob@b.example",
        "<ann@a.example> <bob@b.example>",
        "ann@@a.example",
        "Ann <ann@a.example",
        '"Ann <ann@a.example>',
        "ann@a.example (Ann",
        "a@\x00",
        "<ann@a.example\r\nRCPT TO:<x@y>>",
        "<>",
    ],
)
def test_what_cannot_be_read_is_an_error_and_never_left_out(value: str) -> None:
    with pytest.raises(NotAnAddress):
        addresses(f"bob@b.example, {value}", HERE)


_WORD = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,8}(\.[a-z0-9]{1,5}){0,2}", fullmatch=True)
_LOCAL = _WORD | st.text(st.sampled_from('ab ,;:<>@()\\"[]'), min_size=1, max_size=8)
_MAILBOX = st.builds(
    lambda name, local, domain: Written(name, local, f"{domain}.example"),
    st.text(st.sampled_from('ab .,;:<>@()"[]\\'), max_size=12).map(str.strip),
    _LOCAL,
    st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
)


@given(
    st.lists(
        _MAILBOX | st.builds(Group, st.just("some friends"), st.lists(_MAILBOX, max_size=3).map(tuple)), max_size=5
    )
)
def test_what_pythons_email_package_writes_is_read(entries: list[Written | Group]) -> None:
    boxes = [box for entry in entries for box in (entry.addresses if isinstance(entry, Group) else [entry])]
    expected = [Address(box.username, box.domain) for box in boxes]
    assert addresses(", ".join(map(str, entries)), HERE) == expected


@given(st.text(st.sampled_from('a@.,;:<>()"\\ [\n'), max_size=30))
def test_any_text_gives_addresses_or_is_refused(value: str) -> None:
    try:
        found = addresses(value, HERE)
    except NotAnAddress:
        return
    assert all(address(str(each), HERE) == each for each in found)
