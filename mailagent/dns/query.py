"""One question to the DNS, asked in a thread, and its answer as plain values.

Four things may come of it, and mail depends on which: records; none of this type (an empty answer); no such domain;
trouble, which says nothing about the domain. Nothing here raises for what a server says.
"""

from __future__ import annotations

from typing import Any

import attrs
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

_PAYLOAD = 1232  # octets of a UDP answer that no network breaks in pieces (DNS flag day 2020)
_LONGEST, _LONGEST_NEGATIVE = 3600.0, 900.0
_TROUBLE = 10.0  # long enough to spare a broken server, short enough to notice that it is back (RFC 2308 section 7)


class NoSuchDomain(LookupError):
    """The name does not exist (NXDOMAIN), or cannot be one."""


class DNSTrouble(Exception):
    """No answer now: SERVFAIL, silence, nonsense, no network. Later there may be one."""


@attrs.frozen
class MX:
    """A mail server of a domain: the lower the C{preference}, the sooner it is tried.

    @ivar host: its name in lower case without the final dot; C{"."} alone says that there is none (RFC 7505).
    """

    preference: int
    host: str


@attrs.frozen
class Answer:
    """What came of a question.

    @ivar records: L{MX} records, or IP addresses in canonical text.
    @ivar seconds: for how long that may be taken as known.
    @ivar error: why there is no answer.
    """

    records: tuple[Any, ...] = ()
    seconds: float = 0.0
    error: NoSuchDomain | DNSTrouble | None = None


def ask(server: tuple[str, int] | None, lifetime: float, name: str, kind: str) -> Answer:
    """Ask, and wait for the answer. Blocks, so for a thread. A CNAME is followed.

    @param server: address and port; C{None} is the system's, as C{/etc/resolv.conf} has it now.
    @param lifetime: seconds it may take altogether.
    @param kind: C{"MX"}, C{"A"} or C{"AAAA"}.
    """
    try:
        question = dns.name.from_text(name)
    except (dns.exception.DNSException, ValueError):
        return Answer(seconds=_LONGEST_NEGATIVE, error=NoSuchDomain(f"{name} cannot be a domain"))
    try:
        answer = _resolver(server, lifetime).resolve(question, kind, raise_on_no_answer=False, search=False)
    except dns.resolver.NXDOMAIN as error:
        responses = error.kwargs["responses"].values()
        seconds = min((response.resolve_chaining().minimum_ttl for response in responses), default=0)
        return Answer(seconds=min(seconds, _LONGEST_NEGATIVE), error=NoSuchDomain(f"{name} does not exist"))
    except (dns.exception.DNSException, OSError) as error:
        return Answer(seconds=_TROUBLE, error=DNSTrouble(f"no answer about {name}: {error}"))
    records = tuple(map(_RECORDS[kind], answer.rrset or ()))
    seconds = answer.chaining_result.minimum_ttl
    return Answer(records, min(seconds, _LONGEST if records else _LONGEST_NEGATIVE))


def _resolver(server: tuple[str, int] | None, lifetime: float) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=server is None)
    if server is not None:
        resolver.nameservers, resolver.port = [server[0]], server[1]
    resolver.lifetime = lifetime
    resolver.use_edns(0, 0, _PAYLOAD)
    return resolver


def _mx(record: Any) -> MX:
    return MX(record.preference, record.exchange.to_text(omit_final_dot=True).lower())


def _address(record: Any) -> str:
    return str(record.address)


_RECORDS = {"MX": _mx, "A": _address, "AAAA": _address}
