"""Questions to a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailagent.dns.query import MX, Answer, DNSTrouble, NoSuchDomain, ask
from tests.dns_server import NEGATIVE_TTL, TTL, DNSServer, serving

RECORDS = {
    "example.org": {"MX": ["10 MX1.example.org.", "20 mx2.example.org."]},
    "mx1.example.org": {"A": ["192.0.2.1"], "AAAA": ["2001:DB8::1"]},
    "alias.example": {"CNAME": ["example.org."]},
    "nowhere.example": {"CNAME": ["gone.example."]},
    "circle.example": {"CNAME": ["circle.example."]},
    "null.example": {"MX": ["0 ."]},
    "many.example": {"MX": [f"{number} mail-server-number-{number}.many.example." for number in range(200)]},
    "a.b.deep.example": {"A": ["192.0.2.2"]},
}


@pytest.fixture(scope="module")
def server() -> Iterator[DNSServer]:
    with serving(RECORDS) as running:
        running.servfail.add("broken.example")
        running.drop.add("silent.example")
        yield running


def asked(server: DNSServer, name: str, kind: str = "MX") -> Answer:
    return ask(server.address, 5.0, name, kind)


def test_records_come_as_plain_values_with_their_time(server: DNSServer) -> None:
    answer = asked(server, "example.org")
    assert set(answer.records) == {MX(10, "mx1.example.org"), MX(20, "mx2.example.org")}
    assert answer.seconds == TTL
    assert asked(server, "mx1.example.org", "A").records == ("192.0.2.1",)
    assert asked(server, "mx1.example.org", "AAAA").records == ("2001:db8::1",)


def test_a_cname_is_followed(server: DNSServer) -> None:
    assert set(asked(server, "alias.example").records) == {MX(10, "mx1.example.org"), MX(20, "mx2.example.org")}


@pytest.mark.parametrize("name", ["mx1.example.org", "deep.example"])
def test_a_name_without_such_a_record_exists_all_the_same(server: DNSServer, name: str) -> None:
    assert asked(server, name) == Answer((), NEGATIVE_TTL)


@pytest.mark.parametrize("name", ["missing.example", "nowhere.example"])
def test_a_name_that_does_not_exist_is_told_apart(server: DNSServer, name: str) -> None:
    answer = asked(server, name)
    assert isinstance(answer.error, NoSuchDomain)
    assert answer.seconds == NEGATIVE_TTL


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", ".".join(["label"] * 50)])
def test_what_cannot_be_a_name_does_not_exist(server: DNSServer, name: str) -> None:
    assert isinstance(asked(server, name).error, NoSuchDomain)


@pytest.mark.parametrize("name", ["broken.example", "circle.example"])
def test_trouble_says_nothing_about_the_name(server: DNSServer, name: str) -> None:
    assert isinstance(asked(server, name).error, DNSTrouble)


def test_silence_is_trouble_after_the_lifetime(server: DNSServer) -> None:
    assert isinstance(ask(server.address, 0.1, "silent.example", "MX").error, DNSTrouble)


def test_a_null_mx_is_a_dot(server: DNSServer) -> None:
    assert asked(server, "null.example").records == (MX(0, "."),)


def test_an_answer_too_large_for_a_datagram_comes_over_tcp(server: DNSServer) -> None:
    server.asked.clear()
    assert len(asked(server, "many.example").records) == 200
    assert len(server.asked) == 2
