"""The resolver everybody shares.

Guarantees:
  - the reactor never waits: questions are asked in threads (L{mailagent.dns.query});
  - an answer is remembered as long as it says, at most an hour; also that there is none, at most a quarter of one;
  - who asks what is being asked already gets that answer;
  - a change of the server takes effect with the next question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from mailagent.dns.cache import Cache
from mailagent.dns.query import MX, Answer, DNSTrouble, NoSuchDomain, ask

#: Threads for it: a slow server must not hold up every question behind it.
THREADS = 16
_REMEMBERED = 10_000
#: Whom is asked, for what name, for which type.
_Question = tuple[tuple[str, int] | None, str, str]


class Resolver:
    """Answers about names.

    @param in_thread: calls something in a bounded pool of threads, and gives a Deferred of its result.
    @param seconds: the time now.
    @param server: address and port of the server to ask, now; C{None} for the system's.
    @param lifetime: seconds a question may take.
    @param ask: see L{mailagent.dns.query.ask}.
    """

    def __init__(
        self,
        in_thread: Callable[..., Deferred[Any]],
        seconds: Callable[[], float],
        server: Callable[[], tuple[str, int] | None] = lambda: None,
        lifetime: float = 10.0,
        ask: Callable[[tuple[str, int] | None, float, str, str], Answer] = ask,
    ) -> None:
        self._in_thread = in_thread
        self._server = server
        self._lifetime = lifetime
        self._ask = ask
        self._cache: Cache[_Question, Answer] = Cache(seconds, _REMEMBERED)
        self._asking: dict[_Question, list[Deferred[Answer]]] = {}

    async def mx(self, domain: str) -> tuple[MX, ...]:
        """The domain's MX records, in no order; none, where it has none.

        @param domain: in canonical form (see L{mailagent.envelope.address.canonical_domain}).
        @raise NoSuchDomain: it does not exist.
        @raise DNSTrouble: there is no telling now.
        """
        answer = await self._answer(domain, "MX")
        if answer.error is not None:
            raise answer.error.with_traceback(None)  # it is remembered: each raise would add to what it holds
        return answer.records

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The host's IP addresses, IPv6 before IPv4; none, where it has none.

        What is known of one family is enough, if there is an address in it.

        @raise NoSuchDomain: it does not exist.
        @raise DNSTrouble: there is no telling now.
        """
        asked = [self._answer(host, kind) for kind in ("AAAA", "A")]
        answers = [await answer for answer in asked]
        found = tuple(address for answer in answers for address in answer.records)
        errors = [answer.error for answer in answers if answer.error is not None]
        if errors and not found:
            error = next((error for error in errors if isinstance(error, DNSTrouble)), errors[0])
            raise error.with_traceback(None)
        return found

    def _answer(self, name: str, kind: str) -> Deferred[Answer]:
        question = self._server(), name, kind
        known = self._cache.get(question)
        if known is not None:
            return succeed(known)
        result: Deferred[Answer] = Deferred()
        if question in self._asking:
            self._asking[question].append(result)
        else:
            self._asking[question] = [result]
            server, name, kind = question
            asked = self._in_thread(self._ask, server, self._lifetime, name, kind)
            asked.addBoth(self._answered, question)
        return result

    def _answered(self, answer: Answer | Failure, question: _Question) -> None:
        if isinstance(answer, Answer):
            self._cache.put(question, answer, answer.seconds)
        for waiting in self._asking.pop(question):
            waiting.callback(answer)  # a failure, which only a defect gives, goes to everybody likewise


__all__ = ["MX", "THREADS", "DNSTrouble", "NoSuchDomain", "Resolver"]
