"""A resolver that answers from a dictionary, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import execute
from twisted.internet.task import Clock

from mailagent.dns.query import MX, Answer, DNSTrouble, NoSuchDomain
from mailagent.dns.resolver import Resolver

#: In place of records.
TROUBLE = "trouble"


def resolver(names: Mapping[str, Sequence[str] | str]) -> Resolver:
    """One that knows these names: records such as C{"10 mx.example"} and IP addresses, or L{TROUBLE}."""

    def ask(server: Any, lifetime: float, name: str, kind: str) -> Answer:
        if name not in names:
            return Answer(error=NoSuchDomain(f"{name} does not exist"))
        if names[name] == TROUBLE:
            return Answer(error=DNSTrouble(f"no answer about {name}"))
        return Answer(tuple(_records(names[name], kind)))

    return Resolver(execute, Clock().seconds, ask=ask)


def _records(records: Sequence[str], kind: str) -> list[Any]:
    if kind == "MX":
        split = [record.split() for record in records if " " in record]
        return [MX(int(preference), host) for preference, host in split]
    return [record for record in records if " " not in record and (":" in record) == (kind == "AAAA")]
