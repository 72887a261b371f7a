"""One session's login: the dialogue of AUTH (RFC 4954), from the command to the final reply.

Challenges and responses are L{mailagent.smtp.auth}'s, who somebody is the portal's. Here the two meet the limits: a
failure is answered after a pause, and who has failed too often is not checked at all. Every step gives the one reply
to send; what the session does with a login that succeeded is its own affair.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import attrs
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from mailagent import log as events
from mailagent.envelope.reply import Reply
from mailagent.smtp import replies
from mailagent.smtp.auth import Exchange, MalformedResponse, NotAllowed, decode
from mailagent.smtp.peer import Peer

_T = TypeVar("_T")


class Turn(Protocol):
    """What one attempt at a time holds; a C{DeferredLock} is one."""

    def acquire(self) -> Deferred[Any]:
        """Fires when it is ours."""

    def release(self) -> None:
        """It is another's."""


class Limits(Protocol):
    """Who has failed too often (L{mailagent.policy.login_limits.LoginLimits}). Each may answer by a C{Deferred}."""

    def refusal(self, address: str, name: str) -> Reply | Deferred[Reply | None] | None:
        """The refusal that this login meets unchecked, if any; C{name} is C{""} while it is not known."""

    def turns(self, address: str, name: str) -> Sequence[Turn]:
        """What an attempt must hold, in this order, from asking C{refusal} until its outcome is counted."""

    def failed(self, address: str, name: str) -> float | Deferred[float]:
        """A login has failed; the seconds to wait before saying so."""

    def succeeded(self, address: str, name: str) -> Deferred[None] | None:
        """A login has succeeded."""


@attrs.frozen
class Authentication:
    """What all sessions log in with.

    @ivar portal: gives an C{IMessageDeliveryFactory} or C{IMessageDelivery} for credentials.
    @ivar mechanisms: makes an exchange, by the mechanism's name.
    @ivar offer: the names of those that are offered now.
    @ivar refresh: takes up what has changed about users; fires when that is done, and does not fail.
    @ivar pause: a C{Deferred} that fires after so many seconds.
    @ivar plaintext_loopback: whether passwords may be sent without TLS by a client on this machine.
    """

    portal: Portal
    mechanisms: Mapping[str, Callable[[], Any]]
    offer: Callable[[], list[str]]
    limits: Limits
    refresh: Callable[[], Deferred[None]]
    pause: Callable[[float], Deferred[None]]
    plaintext_loopback: bool = False


class Login:
    """One AUTH command and what comes of it.

    @ivar name: who has logged in; C{""} before.
    @ivar avatar: what the portal gave (interface, delivery, logout); C{None} before.
    """

    _log = Logger()

    def __init__(self, authentication: Authentication, peer: Peer) -> None:
        self._authentication = authentication
        self._peer = peer
        self._mechanism = ""
        self._exchange: Exchange | None = None
        self.name = ""
        self.avatar: tuple[Any, Any, Any] | None = None

    @property
    def expects_response(self) -> bool:
        """Whether a challenge is out, so that the next line is its answer."""
        return self._exchange is not None

    def begin(self, mechanism: str, initial: bytes | None) -> Deferred[Reply]:
        """The AUTH command, with the initial response in base64 if there was one."""
        return Deferred.fromCoroutine(self._begin(mechanism, initial))

    def respond(self, line: bytes) -> Deferred[Reply]:
        """The answer to a challenge."""
        return Deferred.fromCoroutine(self._respond(line))

    def give_up(self) -> None:
        """No answer will come."""
        self._exchange = None

    async def _begin(self, mechanism: str, initial: bytes | None) -> Reply:
        await self._authentication.refresh()
        if mechanism not in self._authentication.offer():
            return replies.UNKNOWN_MECHANISM
        self._mechanism = mechanism
        limited = await self._refusal("")
        if limited is not None:
            return self._told("", limited)
        exchange: Exchange = self._authentication.mechanisms[mechanism]()
        if initial is None:
            return self._ask(exchange)
        return await self._take(exchange, initial)

    async def _respond(self, line: bytes) -> Reply:
        exchange, self._exchange = self._exchange, None
        if exchange is None or line == b"*":
            return replies.LOGIN_CANCELLED
        return await self._take(exchange, line)

    def _ask(self, exchange: Exchange) -> Reply:
        self._exchange = exchange
        return Reply(334, "", b64encode(exchange.getChallenge()).decode())

    async def _take(self, exchange: Exchange, encoded: bytes) -> Reply:
        try:
            exchange.setResponse(decode(encoded))
        except MalformedResponse:
            return replies.MALFORMED_RESPONSE
        except NotAllowed:
            return await self._pause(await self._failed(exchange))
        except Exception as error:
            return self._unavailable(error)
        limited = await self._refusal(_name(exchange))
        if limited is not None:
            return self._told(_name(exchange), limited)
        if exchange.moreChallenges():
            return self._ask(exchange)
        return await self._check_in_turn(exchange)

    async def _check_in_turn(self, exchange: Any) -> Reply:
        turns = self._authentication.limits.turns(self._peer.address, _name(exchange))
        for turn in turns:
            await turn.acquire()
        try:
            limited = await self._refusal(_name(exchange))
            outcome = self._told(_name(exchange), limited) if limited else await self._check(exchange)
        finally:
            for turn in turns:
                turn.release()
        return outcome if isinstance(outcome, Reply) else await self._pause(outcome)

    async def _check(self, exchange: Any) -> Reply | float:
        """The reply; or, of a login that failed, the seconds to wait before saying so."""
        try:
            self.avatar = await self._authentication.portal.login(
                exchange, None, IMessageDeliveryFactory, IMessageDelivery
            )
        except LoginFailed:
            return await self._failed(exchange)
        except Exception as error:
            return self._unavailable(error)
        self.name = _name(exchange)
        await _answer(self._authentication.limits.succeeded(self._peer.address, self.name))
        events.LOGIN_SUCCEEDED(self._log, peer=str(self._peer), name=self.name, mechanism=self._mechanism)
        return replies.LOGGED_IN

    async def _refusal(self, name: str) -> Reply | None:
        return await _answer(self._authentication.limits.refusal(self._peer.address, name))

    async def _failed(self, exchange: Exchange) -> float:
        self._told(_name(exchange), replies.LOGIN_FAILED)
        return await _answer(self._authentication.limits.failed(self._peer.address, _name(exchange)))

    async def _pause(self, seconds: float) -> Reply:
        await self._authentication.pause(seconds)
        return replies.LOGIN_FAILED

    def _told(self, name: str, reply: Reply) -> Reply:
        events.LOGIN_FAILED(self._log, peer=str(self._peer), name=name, mechanism=self._mechanism, reply=str(reply))
        return reply

    def _unavailable(self, error: Exception) -> Reply:
        events.ERROR(self._log, what="checking a login", reason=repr(error))
        return replies.LOGIN_UNAVAILABLE


async def _answer(given: _T | Deferred[_T]) -> _T:
    """What is given, now or later."""
    return await given if isinstance(given, Deferred) else given


def _name(exchange: Exchange) -> str:
    return (exchange.username or b"").decode("utf-8", "replace")
