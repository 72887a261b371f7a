"""Mailbox addresses, and when two domains are the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address, canonical_domain


@pytest.mark.parametrize(
    ("domain", "canonical"),
    [
        ("HostMeister.DE", "hostmeister.de"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("bu\u0308cher\u3002example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("XN--I-7IQ.ws", "xn--i-7iq.ws"),  # no A-label by IDNA 2008, and yet a domain
        ("[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"),
        ("", ""),
    ],
)
def test_two_spellings_of_a_domain_have_one_canonical_form(domain: str, canonical: str) -> None:
    assert canonical_domain(domain) == canonical


@pytest.mark.parametrize("domain", ["ä..b", "ä b", "\udcff", "ä" * 100, "a" * 256, "[" * 256])
def test_what_idna_cannot_read_is_no_domain(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        canonical_domain(domain)


@given(st.text() | st.text("aäßK.-xnXN[]。_0\u0661\u200d\u0301\ud800"))
def test_the_canonical_form_is_its_own_canonical_form(domain: str) -> None:
    try:
        canonical = canonical_domain(domain)
    except ValueError:
        return
    assert canonical_domain(canonical) == canonical


@given(st.from_regex(r"[A-Za-z0-9-]{1,10}(\.[A-Za-z0-9-]{1,10}){0,3}", fullmatch=True))
def test_the_letter_case_of_a_domain_never_matters(domain: str) -> None:
    def canonical(spelling: str) -> str | None:
        try:
            return canonical_domain(spelling)
        except ValueError:
            return None

    assert canonical(domain.upper()) == canonical(domain.lower())


@pytest.mark.parametrize(
    ("local", "written"),
    [
        ("user1", "user1"),
        ("a.b+c", "a.b+c"),
        ("müller", "müller"),
        ("user one", '"user one"'),
        ("a..b", '"a..b"'),
        (".a", '".a"'),
        ("a.", '"a."'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("a@b", '"a@b"'),
        ("", '""'),
        ("a\n", '"a\n"'),
    ],
)
def test_a_local_part_is_quoted_where_it_must_be(local: str, written: str) -> None:
    assert Address(local, "example.org").quoted_local == written
    assert str(Address(local, "example.org")) == f"{written}@example.org"


def test_bare_postmaster_is_written_without_a_domain() -> None:
    assert str(Address("postmaster", "")) == "postmaster"


def test_the_domain_is_kept_as_written_and_the_host_is_canonical() -> None:
    address = Address("ann", "BÜCHER.example")
    assert str(address) == "ann@BÜCHER.example"
    assert address.host == "xn--bcher-kva.example"


def test_an_address_whose_domain_is_none_has_no_host() -> None:
    with pytest.raises(ValueError, match="not a domain name"):
        _ = Address("ann", "ä..b").host
