"""Which way a domain's mail goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.outbound import RelaySettings, RouteSettings
from mailagent.config.values import ConfiguredPath, Count, Destination, Pattern, Port, Rate, Security, Text
from mailagent.relay.routes import Route, matches, route_for

RELAY = RelaySettings(port=Port(2525), tls=Security("require"), connections=Count(3))
LABELS = st.lists(st.sampled_from(["a", "b", "xn--bcher-kva", "example"]), min_size=1, max_size=4)


def to(destination: str, **settings: Any) -> RouteSettings:
    return RouteSettings(to=Destination(destination), **settings)


def routed(domain: str, **routes: str) -> str:
    """The host that a domain goes to, of patterns with C{_} for a dot and C{all} for C{*}."""
    patterns = {
        Pattern("*" if name == "all" else name.replace("_", ".")): to(f"smtp:{host}:25")
        for name, host in routes.items()
    }
    return route_for(domain, patterns, RELAY).host


def test_without_a_route_it_is_the_mx_as_relay_says() -> None:
    assert route_for("example.org", {}, RELAY) == Route(port=2525, tls="require")


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("partner.example", "exact"),
        ("a.partner.example", "below"),
        ("b.a.partner.example", "deeper"),
        ("a.b.partner.example", "below"),
        ("notpartner.example", "everything"),
        ("[192.0.2.1]", "everything"),
    ],
)
def test_the_longest_match_wins(domain: str, host: str) -> None:
    routes = {
        "all": "everything",
        "partner_example": "exact",
        "_partner_example": "below",
        "_a_partner_example": "deeper",
        "_example": "top" if domain.startswith("x") else "everything",
    }
    assert routed(domain, **routes) == host


def test_a_pattern_may_be_spelled_in_either_form_and_any_case() -> None:
    assert matches("B\xdccher.Example", "xn--bcher-kva.example")
    assert matches(".B\xdccher.Example", "mail.xn--bcher-kva.example")


@pytest.mark.parametrize(
    ("settings", "route"),
    [
        (to("mx", tls=Security("verify")), Route(port=2525, tls="verify")),
        (to("smtp:[2001:db8::1]:25"), Route("2001:db8::1", 25, tls="require")),
        (to("lmtp:unix:/run/lmtp"), Route(port=2525, socket="/run/lmtp", lmtp=True, tls="require")),
        (to("lmtp:Localhost:24", tls=Security("may")), Route("localhost", 24, lmtp=True)),
        (
            to("smtp:smart.example:587", user=Text("me"), password_file=ConfiguredPath("/etc/pw")),
            Route("smart.example", 587, tls="require", user="me", password_file=Path("/etc/pw")),
        ),
    ],
)
def test_a_route_is_what_its_settings_say(settings: RouteSettings, route: Route) -> None:
    assert route_for("example.org", {Pattern("*"): settings}, RELAY) == route


@given(LABELS, st.sets(LABELS.map(tuple)), st.sets(LABELS.map(tuple)), st.booleans())
def test_the_winner_is_the_nearest_name_above(
    labels: list[str], exact: set[tuple[str, ...]], below: set[tuple[str, ...]], everything: bool
) -> None:
    """Against the plain definition: the domain itself, else the nearest of its parents, else everything."""
    routes = {Pattern(".".join(name)): to("smtp:exact:25") for name in exact}
    routes |= {Pattern("." + ".".join(name)): to(f"smtp:below{len(name)}:25") for name in below}
    routes |= {Pattern("*"): to("smtp:everything:25")} if everything else {}
    parents = [tuple(labels[start:]) for start in range(1, len(labels))]
    nearest = next((f"below{len(parent)}" for parent in parents if parent in below), "everything" if everything else "")
    expected = "exact" if tuple(labels) in exact else nearest
    assert route_for(".".join(labels), routes, RELAY).host == expected


def test_a_routes_rate_goes_before_that_of_all() -> None:
    relay = RelaySettings(rate=Rate((100, 60.0)))
    routes = {Pattern("slow.example"): to("mx", rate=Rate((1, 60.0))), Pattern("b.example"): to("mx")}
    rates = [route_for(domain, routes, relay).rate for domain in ("slow.example", "b.example", "c.example")]
    assert rates == [(1, 60.0), (100, 60.0), (100, 60.0)]
