"""What a setting may hold: one kind of value per type, with the words that tell an operator what is allowed.

A type here is a C{NewType}, so that the schema says C{Domain} and not C{str}; L{KINDS} gives each its L{Kind}.
The converter and the reference both read from there, so neither can promise what the other does not keep.
"""

from __future__ import annotations

import ipaddress
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NewType

import attrs

from mailagent.config import units
from mailagent.envelope.address import MAX_LOCAL_PART, Address, canonical_domain

Domain = NewType("Domain", str)
UserName = NewType("UserName", str)
Target = NewType("Target", str)
Targets = NewType("Targets", tuple[Target, ...])
ConfiguredPath = NewType("ConfiguredPath", str)
Endpoint = NewType("Endpoint", str)
Role = NewType("Role", str)
Count = NewType("Count", int)
Size = NewType("Size", int)
Duration = NewType("Duration", float)
Rate = NewType("Rate", tuple[int, float])
Network = NewType("Network", str)
Switch = NewType("Switch", bool)
Text = NewType("Text", str)
Url = NewType("Url", str)
Port = NewType("Port", int)
Workers = NewType("Workers", int)
Server = NewType("Server", str)
Security = NewType("Security", str)
Destination = NewType("Destination", str)
Pattern = NewType("Pattern", str)
Source = NewType("Source", str)

#: Those where users log in.
LOGIN_ROLES = ("submission", "submissions")
ROLES = ("mx", *LOGIN_ROLES, "lmtp")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
#: RFC 1123 section 2.1; the last label is never all digits, so no IPv4 address passes.
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}\Z", re.ASCII)
_URL = re.compile(r"(?:sqlite:///|postgresql\+psycopg://).+")
_SERVER = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[0-9.]+))(?::(?P<port>\d{1,5}))?")
_UNIX = re.compile(r"lmtp:unix:(?P<path>/.+)")
_HOST_AND_PORT = re.compile(r"(?P<protocol>smtp|lmtp):(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>\d{1,5})")
_MAX_PORT = 65535
SECURITY = ("may", "require", "verify")
#: Where hosts, users and aliases are.
FILE, DATABASE = "file", "database"
_ENDPOINT = re.compile(r"([A-Za-z][\w+-]*):.+", re.ASCII)
_PORT = re.compile(r"(?:port=)?(\d{1,5})", re.ASCII)


def user_key(name: str) -> str:
    """The form in which two spellings of one local part are equal here: NFC, case folded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def domain(value: object) -> str:
    """A host's name, kept as it is spelled. U-labels and A-labels will do, an address literal will not."""
    text = _text(value)
    if not _DOMAIN.match(canonical_domain(text)):
        raise ValueError("not a domain name")
    return text


def user_name(value: object) -> str:
    """A name that is a local part and, as it stands, one safe component of a path."""
    text = _text(value)
    if not text.isprintable() or not 0 < len(text.encode()) <= MAX_LOCAL_PART:
        raise ValueError("unprintable, empty or too long")
    if text.startswith(".") or not {"/", "@"}.isdisjoint(text):
        raise ValueError("not one component of a path, or not a local part")
    return text


def target(value: object) -> str:
    """A user's name, or an address: where an alias leads."""
    text = _text(value)
    local, at, host = text.rpartition("@")
    if not at:
        return user_name(text)
    domain(host)
    if not text.isprintable() or len(local.encode()) > MAX_LOCAL_PART or Address(local, host).quoted_local != local:
        raise ValueError("not a local part")
    return text


def path(value: object) -> str:
    """A path of the file system, printable because it will be shown."""
    text = _text(value)
    if not text or not text.isprintable():
        raise ValueError("empty or unprintable")
    return text


def endpoint(value: object) -> str:
    """What may be a server endpoint; for C{tcp} and C{tcp6}, with a port. Only listening tells whether it is one."""
    text = _text(value)
    found = _ENDPOINT.fullmatch(text)
    if found is None or not text.isprintable():
        raise ValueError("not kind:arguments")
    if found[1] in ("tcp", "tcp6"):
        ports = [int(port[1]) for part in re.split(r"(?<!\\):", text) if (port := _PORT.fullmatch(part))]
        if not ports or max(ports) > _MAX_PORT:
            raise ValueError("no port")
    return text


def role(value: object) -> str:
    """What a listener is for."""
    if value not in ROLES:
        raise ValueError("no such role")
    return _text(value)


def count(value: object) -> int:
    """A positive whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("not a positive whole number")
    return value


def workers(value: object) -> int:
    """How many processes: a positive whole number, or as many as there are processors for us."""
    return len(os.sched_getaffinity(0)) if value == "auto" else count(value)


def network(value: object) -> str:
    """An IP address, or a network of them."""
    text = _text(value)
    ipaddress.ip_network(text)
    return text


def switch(value: object) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def text(value: object) -> str:
    """A word or several, printable."""
    given = _text(value)
    if not given or not given.isprintable():
        raise ValueError("empty or unprintable")
    return given


def url(value: object) -> str:
    """A database we know how to speak to."""
    given = text(value)
    if not _URL.match(given):
        raise ValueError("not one of ours")
    return given


def port(value: object) -> int:
    """A TCP port."""
    number = count(value)
    if number > _MAX_PORT:
        raise ValueError("too great")
    return number


def server(value: object) -> str:
    """An IP address, perhaps with a port: C{192.0.2.1}, C{192.0.2.1:5353}, C{[2001:db8::1]:5353}."""
    _, number = server_parts(_text(value))
    port(number)
    return _text(value)


def server_parts(given: str) -> tuple[str, int]:
    """The address and port of a L{server}; without a port, DNS's own.

    @raise ValueError: it is none.
    """
    found = _SERVER.fullmatch(given)
    if found is None:
        return str(ipaddress.ip_address(given)), 53
    return str(ipaddress.ip_address(found["six"] or found["four"])), int(found["port"] or 53)


def security(value: object) -> str:
    """What is asked of TLS."""
    if value not in SECURITY:
        raise ValueError("no such demand")
    return _text(value)


def destination(value: object) -> str:
    """Where a route leads."""
    given = text(value)
    if given == "mx" or _UNIX.fullmatch(given):
        return given
    found = _HOST_AND_PORT.fullmatch(given)
    if found is None or int(found["port"]) > _MAX_PORT:
        raise ValueError("no such destination")
    host = found["host"].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        domain(host)
    return given


def destination_parts(given: str) -> tuple[str, str, int]:
    """What a L{destination} says: the protocol, C{"mx"}, C{"smtp"} or C{"lmtp"}; the host (or the path of a local
    socket), without brackets; and the port. What there is not is C{""} or C{0}."""
    if found := _UNIX.fullmatch(given):
        return "lmtp", found["path"], 0
    if found := _HOST_AND_PORT.fullmatch(given):
        return found["protocol"], found["host"].strip("[]"), int(found["port"])
    return "mx", "", 0


def source(value: object) -> str:
    """Where hosts, users and aliases are."""
    if value not in (FILE, DATABASE):
        raise ValueError("no such place")
    return _text(value)


def pattern(value: object) -> str:
    """Which domains a route is for: one, those below one, or all."""
    given = _text(value)
    if given != "*":
        domain(given.removeprefix("."))
    return given


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value


@attrs.frozen
class Kind:
    """A kind of value: its C{name} and its C{rule}, in words, and how one is C{read}.

    C{read} takes what TOML gave, of any type, and raises C{ValueError} for all that is not allowed.
    C{write} gives the text of a value as TOML has it.
    """

    name: str
    rule: str
    read: Callable[[object], Any]
    write: Callable[[Any], str] = '"{}"'.format


KINDS: Mapping[Any, Kind] = {
    Domain: Kind("a domain name", 'a string such as "example.org"; no address, no port', domain),
    UserName: Kind(
        "a user's name",
        'a string of 1 to 64 octets, printable, without "/" or "@", not beginning with "."',
        user_name,
    ),
    Target: Kind("a target", 'one of the users, or an address such as "someone@elsewhere.example"', target),
    ConfiguredPath: Kind("a path", "a string, not empty, printable", path),
    Endpoint: Kind(
        "an endpoint",
        'a string as Twisted describes servers, such as "tcp:25" or "tcp:2525:interface=127.0.0.1"',
        endpoint,
    ),
    Role: Kind("a role", "one of " + ", ".join(f'"{name}"' for name in ROLES), role),
    Count: Kind("a count", "a whole number, at least 1", count, str),
    Size: Kind(
        "a size",
        'a string such as "25 MiB" or "10 MB", or octets as a whole number; at least 1',
        units.size,
        lambda octets: f'"{units.size_text(octets)}"',
    ),
    Duration: Kind(
        "a time",
        'a string such as "500 ms", "30 s", "5 min" or "1 h"; longer than zero',
        units.duration,
        lambda seconds: f'"{units.duration_text(seconds)}"',
    ),
    Rate: Kind(
        "a rate",
        'a string such as "100 / min", "5 / s" or "20 / 10 min"; at least one an hour',
        units.rate,
        lambda rate: f'"{units.rate_text(rate)}"',
    ),
    Network: Kind("a network", 'an IP address or network, such as "192.0.2.0/24" or "2001:db8::1"', network),
    Switch: Kind("a switch", "true or false", switch, lambda on: "true" if on else "false"),
    Text: Kind("a text", "a string, not empty, printable", text),
    Url: Kind("a database", 'a string such as "sqlite:///queue.db" or "postgresql+psycopg://user@host/name"', url),
    Workers: Kind(
        "a number of processes", 'a whole number, at least 1; or "auto", one for each processor', workers, str
    ),
    Port: Kind("a port", "a whole number from 1 to 65535", port, str),
    Server: Kind("a server's address", 'an IP address, perhaps with a port: "192.0.2.1", "[2001:db8::1]:5353"', server),
    Security: Kind("a demand on TLS", "one of " + ", ".join(f'"{name}"' for name in SECURITY), security),
    Destination: Kind(
        "a destination", '"smtp:host:port", "lmtp:host:port", "lmtp:unix:/path" or "mx"; IPv6 in brackets', destination
    ),
    Source: Kind("a source", f'"{FILE}" or "{DATABASE}"', source),
    Pattern: Kind("a domain pattern", '"example.org", ".example.org" for all below it, or "*"', pattern),
}
