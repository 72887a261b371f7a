"""Which mail servers a domain has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.dns.resolver import MX
from mailagent.relay.mx import (
    MOST_ADDRESSES,
    MOST_HOSTS,
    Unroutable,
    interleaved,
    mail_servers,
    ordered,
)
from mailagent.relay.ourselves import Ourselves
from tests.deferreds import result
from tests.relay.names import TROUBLE, resolver

A, B, C, US = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.99"
OURSELVES = Ourselves("us.example", lambda: [(US, 25)], lambda address: False, lambda address: True)
Names = Mapping[str, Sequence[str] | str]


def servers(names: Names, domain: str = "d.example", ourselves: Ourselves = OURSELVES) -> list[tuple[str, ...]]:
    """Each server's host and addresses; equals in the alphabet's order reversed."""
    found = result(mail_servers(domain, resolver(names), ourselves, 25, lambda hosts: hosts.reverse()))
    return [(server.host, *server.addresses) for server in found]


def refusal(names: Names, domain: str = "d.example", ourselves: Ourselves = OURSELVES) -> str:
    with pytest.raises(Unroutable) as caught:
        servers(names, domain, ourselves)
    return f"{caught.value.reply.code} {caught.value.reply.status}"


def test_the_servers_come_by_preference_and_equals_shuffled() -> None:
    names = {"d.example": ["20 c", "10 a", "10 b"], "a": [A], "b": [B], "c": [C]}
    assert servers(names) == [("b", B), ("a", A), ("c", C)]


def test_a_domain_without_mx_is_its_own_server() -> None:
    assert servers({"d.example": [A, "2001:db8::1"]}) == [("d.example", "2001:db8::1", A)]


def test_where_there_is_an_mx_the_domains_own_address_does_not_count() -> None:
    assert refusal({"d.example": ["10 gone", A]}) == "550 5.4.4"


@pytest.mark.parametrize(
    ("names", "reply"),
    [
        ({}, "550 5.1.2"),
        ({"d.example": []}, "550 5.1.2"),
        ({"d.example": TROUBLE}, "451 4.4.3"),
        ({"d.example": ["0 ."]}, "556 5.1.10"),
        ({"d.example": ["10 gone", "20 bare"], "bare": []}, "550 5.4.4"),
        ({"d.example": ["10 gone", "20 broken"], "broken": TROUBLE}, "451 4.4.3"),
        ({"d.example": ["10 192.0.2.1"], "192.0.2.1": [A]}, "550 5.4.4"),
        ({"d.example": ["10 a"], "a": ["0.0.0.0", "224.0.0.1", "::"]}, "550 5.4.4"),
        ({"d.example": ["10 us.example"], "us.example": [A]}, "554 5.4.6"),
        ({"d.example": ["10 us.example"]}, "554 5.4.6"),
        ({"d.example": ["10 alias"], "alias": [US]}, "554 5.4.6"),
        ({"d.example": [US]}, "554 5.4.6"),
        ({"d.example": ["10 a"], "a": ["127.0.0.1"]}, "554 5.4.6"),
    ],
)
def test_what_stands_in_the_way_is_told(names: Names, reply: str) -> None:
    assert refusal(names) == reply


def test_a_server_that_has_no_address_or_trouble_is_passed_over() -> None:
    names = {"d.example": ["1 gone", "2 broken", "3 ., ", "4 a"], "broken": TROUBLE, "a": [A]}
    assert servers(names) == [("a", A)]


def test_ourselves_cut_the_list_at_our_preference_even_without_an_address() -> None:
    names = {"d.example": ["10 a", "20 b", "20 us.example", "30 c"], "a": [A], "b": [B], "c": [C]}
    assert servers(names) == [("a", A)]


def test_what_this_machine_has_no_way_to_is_passed_over() -> None:
    names = {"d.example": ["10 a", "20 b"], "a": ["2001:db8::1"], "b": ["2001:db8::2", B]}
    four_only = Ourselves("us.example", list, lambda address: False, lambda address: ":" not in address)
    assert servers(names, ourselves=four_only) == [("b", B)]
    nothing = Ourselves("us.example", list, lambda address: False, lambda address: False)
    assert refusal(names, ourselves=nothing) == "451 4.4.1"


@pytest.mark.parametrize(
    ("literal", "address"), [("[192.0.2.1]", "192.0.2.1"), ("[ipv6:2001:db8:0::1]", "2001:db8::1")]
)
def test_an_address_literal_is_its_own_server(literal: str, address: str) -> None:
    assert servers({}, literal) == [(literal, address)]


@pytest.mark.parametrize("literal", ["[300.0.0.1]", "[ipv6:x]", "[ipv6:1::2::3]", "[x]", "[]", "[192.0.2.1"])
def test_a_literal_that_is_none_is_refused(literal: str) -> None:
    assert refusal({}, literal) == "550 5.1.2"


def test_a_literal_of_ours_is_a_loop() -> None:
    assert refusal({}, f"[{US}]") == "554 5.4.6"


def test_only_so_many_hosts_and_addresses_are_tried() -> None:
    hosts = {
        f"h{number:02}": [f"192.0.2.{number}", f"198.51.100.{number}", f"203.0.113.{number}"] for number in range(1, 30)
    }
    found = servers({"d.example": [f"{number} {host}" for number, host in enumerate(hosts)], **hosts})
    assert [host for host, *_ in found] == list(hosts)[:7]
    assert sum(len(addresses) for _, *addresses in found) == MOST_ADDRESSES


def test_a_domain_with_many_equal_hosts_has_any_of_them_tried() -> None:
    records = [MX(10, f"h{number}") for number in range(40)]
    assert {host for seed in range(100) for host in ordered(records, Random(seed).shuffle)[0]} == {
        record.host for record in records
    }


RECORDS = st.lists(
    st.builds(MX, st.integers(0, 5), st.sampled_from(["a", "b", "c.d", ".", "1.2.3.4", "e_f", "x" * 64, "g h"]))
)


@given(RECORDS, st.randoms())
def test_the_order_is_by_preference_whatever_the_shuffling(records: list[MX], random: Random) -> None:
    levels = ordered(records, random.shuffle)
    hosts = [host for level in levels for host in level]
    best = {host: min(record.preference for record in records if record.host == host) for host in hosts}
    assert set(hosts) == {record.host for record in records} & {"a", "b", "c.d", "e_f"}
    assert len(hosts) == len(set(hosts)) <= MOST_HOSTS
    assert [best[host] for host in hosts] == sorted(best.values())
    assert [len({best[host] for host in level}) for level in levels] == [1] * len(levels)
    assert len({best[level[0]] for level in levels}) == len(levels)


@given(st.lists(st.ip_addresses().map(str)))
def test_the_families_take_turns(addresses: list[str]) -> None:
    found = interleaved(addresses)
    six, four = [a for a in found if ":" in a], [a for a in found if ":" not in a]
    turns = 2 * min(len(six), len(four))
    assert found[:turns] == [address for pair in zip(six, four, strict=False) for address in pair]
    assert len(found) == len(set(found))


def test_an_ipv4_mapped_address_is_ipv4() -> None:
    assert interleaved([f"::ffff:{A}", A]) == [A]
