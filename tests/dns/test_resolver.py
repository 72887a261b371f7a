"""The shared resolver: what it remembers, what it asks once, what it makes of two families."""

from __future__ import annotations

from collections.abc import Callable
from traceback import walk_tb
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from mailagent.dns.query import MX, Answer, DNSTrouble, NoSuchDomain
from mailagent.dns.resolver import Resolver
from tests.deferreds import result
from tests.dns_server import serving

TROUBLE, NOBODY = Answer(error=DNSTrouble("no answer"), seconds=10), Answer(error=NoSuchDomain("none"), seconds=60)


class Threads:
    """Calls wait until they are let go."""

    def __init__(self) -> None:
        self.calls: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.calls.append((done, function, arguments))
        return done

    def run(self) -> None:
        for done, function, arguments in self.calls:
            done.callback(function(*arguments))
        self.calls.clear()


class Names:
    """A resolver over scripted answers, in lock-step."""

    def __init__(self, answers: dict[tuple[str, str], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[Any, str, str]] = []
        self.clock = Clock()
        self.threads = Threads()
        self.server: tuple[str, int] | None = None
        self.resolver = Resolver(self.threads, self.clock.seconds, lambda: self.server, ask=self.ask)

    def ask(self, server: Any, lifetime: float, name: str, kind: str) -> Answer:
        self.asked.append((server, name, kind))
        return self.answers[name, kind]

    def look_up(self, ask: Callable[[Resolver], Any]) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(ask(self.resolver)).addBoth(results.append)
        self.threads.run()
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


def families(six: Answer, four: Answer) -> Names:
    return Names({("mx.example", "AAAA"): six, ("mx.example", "A"): four})


def addresses(names: Names) -> Any:
    return names.look_up(lambda resolver: resolver.addresses("mx.example"))


def test_an_answer_is_remembered_for_its_time() -> None:
    names = Names({("example.org", "MX"): Answer((MX(1, "mx"),), 300)})
    for _ in range(2):
        assert names.look_up(lambda resolver: resolver.mx("example.org")) == (MX(1, "mx"),)
    assert len(names.asked) == 1
    names.clock.advance(300)
    names.look_up(lambda resolver: resolver.mx("example.org"))
    assert len(names.asked) == 2


@pytest.mark.parametrize(("answer", "error"), [(TROUBLE, DNSTrouble), (NOBODY, NoSuchDomain)])
def test_that_there_is_none_is_remembered_likewise(answer: Answer, error: type[Exception]) -> None:
    names = Names({("example.org", "MX"): answer})
    for _ in range(2):
        with pytest.raises(error):
            names.look_up(lambda resolver: resolver.mx("example.org"))
    assert len(names.asked) == 1


def test_what_is_being_asked_is_not_asked_again_and_one_may_give_up() -> None:
    names = Names({("example.org", "MX"): Answer((), 60)})
    results: list[Any] = []
    first, second = (Deferred.fromCoroutine(names.resolver.mx("example.org")).addBoth(results.append) for _ in "12")
    assert len(names.threads.calls) == 1
    first.cancel()
    names.threads.run()
    assert results[0].check(CancelledError)
    assert results[1:] == [()]
    assert second.called


def test_another_server_is_asked_anew() -> None:
    names = Names({("example.org", "MX"): Answer((), 60)})
    names.look_up(lambda resolver: resolver.mx("example.org"))
    names.server = "192.0.2.53", 53
    names.look_up(lambda resolver: resolver.mx("example.org"))
    assert [server for server, _, _ in names.asked] == [None, ("192.0.2.53", 53)]


def test_both_families_are_given_and_asked_for_at_once() -> None:
    names = families(Answer(("2001:db8::1",), 60), Answer(("192.0.2.1",), 60))
    assert addresses(names) == ("2001:db8::1", "192.0.2.1")


@pytest.mark.parametrize("other", [TROUBLE, NOBODY, Answer((), 60)])
def test_one_family_is_enough(other: Answer) -> None:
    assert addresses(families(other, Answer(("192.0.2.1",), 60))) == ("192.0.2.1",)


def test_no_address_in_one_family_and_trouble_in_the_other_is_trouble() -> None:
    for six, four in ((TROUBLE, Answer((), 60)), (Answer((), 60), TROUBLE), (NOBODY, TROUBLE)):
        with pytest.raises(DNSTrouble):
            addresses(families(six, four))


def test_a_host_without_addresses_has_none_and_one_that_is_none_does_not_exist() -> None:
    assert addresses(families(Answer((), 60), Answer((), 60))) == ()
    with pytest.raises(NoSuchDomain):
        addresses(families(NOBODY, NOBODY))


def test_it_asks_a_real_server() -> None:
    def inline(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        done.callback(function(*arguments))
        return done

    with serving({"example.org": {"MX": ["5 mx.example.org."]}}) as server:
        resolver = Resolver(inline, Clock().seconds, lambda: server.address)
        assert result(resolver.mx("example.org")) == (MX(5, "mx.example.org"),)
        with pytest.raises(NoSuchDomain):
            result(resolver.mx("example.net"))


@pytest.mark.parametrize("ask", [lambda resolver: resolver.mx("a"), lambda resolver: resolver.addresses("a")])
def test_an_error_that_is_remembered_does_not_grow(ask: Callable[[Resolver], Any]) -> None:
    error = NoSuchDomain("none")
    names = Names({("a", kind): Answer(error=error, seconds=60) for kind in ("MX", "A", "AAAA")})
    depths = []
    for _ in range(3):
        with pytest.raises(NoSuchDomain):
            names.look_up(ask)
        depths.append(len(list(walk_tb(error.__traceback__))))
    assert depths[0] == depths[2]
