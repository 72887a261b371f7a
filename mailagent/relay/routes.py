"""Which way a domain's mail goes, as the configuration has it now: pure values.

The longest pattern that matches wins: C{partner.example} is that domain alone, C{.partner.example} all below it, C{*}
everything, address literals too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from mailagent.config.outbound import RelaySettings, RouteSettings
from mailagent.config.values import Pattern, destination_parts
from mailagent.envelope.address import canonical_domain


@attrs.frozen
class Route:
    """A way.

    @ivar host: the next hop, a domain name or an IP address; C{""} where the domain's MX says who it is.
    @ivar port: its port.
    @ivar socket: the path of a local socket, in place of host and port.
    @ivar lmtp: whether LMTP is spoken there (RFC 2033).
    @ivar tls: C{"may"}, C{"require"} or C{"verify"} (see L{RelaySettings}).
    @ivar rate: so many messages to the domain in so many seconds; C{None} for no limit.
    @ivar user: who logs in there, C{""} for nobody, and C{password_file}, with which password.
    """

    host: str = ""
    port: int = 25
    socket: str = ""
    lmtp: bool = False
    tls: str = "may"
    rate: tuple[int, float] | None = None
    user: str = ""
    password_file: Path | None = None


def route_for(domain: str, routes: Mapping[Pattern, RouteSettings], relay: RelaySettings) -> Route:
    """The route for a domain.

    @param domain: in canonical form (see L{canonical_domain}), or an address literal.
    """
    matching = {_canonical(pattern): settings for pattern, settings in routes.items() if matches(pattern, domain)}
    if not matching:
        return Route(port=relay.port, tls=relay.tls, rate=relay.rate)
    settings = matching[max(matching, key=len)]
    protocol, place, port = destination_parts(settings.to)
    unix = bool(place) and not port
    return Route(
        host="" if unix else place.lower(),
        port=port or relay.port,
        socket=place if unix else "",
        lmtp=protocol == "lmtp",
        tls=settings.tls or relay.tls,
        rate=settings.rate or relay.rate,
        user=settings.user or "",
        password_file=Path(settings.password_file) if settings.password_file else None,
    )


def matches(pattern: str, domain: str) -> bool:
    """Whether a route for C{pattern} is one for C{domain}, which is in canonical form."""
    if pattern == "*":
        return True
    canonical = _canonical(pattern)
    return domain.endswith(canonical) if canonical.startswith(".") else domain == canonical


def _canonical(pattern: str) -> str:
    return "." * pattern.startswith(".") + canonical_domain(pattern.removeprefix("."))
