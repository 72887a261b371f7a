"""Proving to a server who we are: the client's side of SASL (RFC 4954), best mechanism first.

A mechanism is sans-io: it gives an initial response if it has one, then a response to each challenge. Whatever a server
says that makes no sense to it raises L{BadChallenge}, and ends the session. A response may take a while to compute
(SCRAM's hash of the password, which scramp bounds at ten million rounds), so it is done in a thread. Nothing secret is
in a log or an error.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol

import attrs
from scramp import ScramClient, ScramException

from mailagent.envelope.reply import Reply
from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.sending_failed import LoginFailed, ProtocolError

#: Octets of a command line that any server takes (RFC 5321 section 4.5.3.1.4), CRLF not included.
_MAX_LINE = 510
_NOT_THIS_ONE = 504  # RFC 4954 section 4: offered, but not to this user or not now
_EITHER = (2, 3)


class BadChallenge(ValueError):
    """The server's part of the exchange is not what the mechanism has it be; the text says how."""


@attrs.frozen
class Login:
    """Who to log in as.

    @ivar in_thread: calls something where it may take its time.
    """

    user: str
    password: str = attrs.field(repr=False)
    in_thread: Callable[[Callable[[], bytes]], Awaitable[bytes]] = attrs.field(repr=False)


class Mechanism(Protocol):
    """One exchange.

    @ivar initial: the initial response; C{None} where the server speaks first.
    @ivar complete: whether success may be believed: all that the server had to prove is proven.
    """

    initial: bytes | None
    complete: bool

    def respond(self, challenge: bytes) -> bytes:
        """The response to a challenge.

        @raise BadChallenge: it cannot be responded to.
        """


class Plain:
    """RFC 4616: user and password in one go."""

    complete = True

    def __init__(self, login: Login) -> None:
        self.initial: bytes | None = f"\0{login.user}\0{login.password}".encode()

    def respond(self, challenge: bytes) -> bytes:
        """See L{Mechanism}."""
        raise BadChallenge("PLAIN has no challenge")


class LoginMechanism:
    """LOGIN, never standardised: user and password when asked; servers ask in several ways, but in this order."""

    initial: bytes | None = None
    complete = True

    def __init__(self, login: Login) -> None:
        self._answers = [login.user, login.password]

    def respond(self, challenge: bytes) -> bytes:
        """See L{Mechanism}."""
        if not self._answers:
            raise BadChallenge("LOGIN has two challenges")
        return self._answers.pop(0).encode()


class ScramSha256:
    """RFC 7677: the password stays here, and the server proves that it has known it."""

    def __init__(self, login: Login) -> None:
        self.complete = False
        try:
            self._scram = ScramClient(["SCRAM-SHA-256"], login.user, login.password)
            self.initial: bytes | None = self._scram.get_client_first().encode()
        except ScramException as error:
            raise BadChallenge(f"user or password cannot be used: {error}") from error
        self._steps = iter((self._prove, self._verify))

    def respond(self, challenge: bytes) -> bytes:
        """See L{Mechanism}."""
        step = next(self._steps, None)
        if step is None:
            raise BadChallenge("SCRAM-SHA-256 has two challenges")
        try:
            return step(challenge.decode()).encode()
        except (ScramException, UnicodeDecodeError) as error:
            raise BadChallenge(str(error)) from error

    def _prove(self, server_first: str) -> str:
        self._scram.set_server_first(server_first)
        return str(self._scram.get_client_final())

    def _verify(self, server_final: str) -> str:
        self._scram.set_server_final(server_final)
        self.complete = True
        return ""


MECHANISMS: dict[str, Callable[[Login], Mechanism]] = {
    "SCRAM-SHA-256": ScramSha256,
    "PLAIN": Plain,
    "LOGIN": LoginMechanism,
}


def usable(offered: Iterable[str]) -> list[str]:
    """Those of the mechanisms offered that there are here, the best first."""
    names = {name.upper() for name in offered}
    return [name for name in MECHANISMS if name in names]


async def log_in(channel: ClientChannel, offered: Iterable[str], login: Login, seconds: float) -> None:
    """Log in, by the best mechanism there is at both ends.

    @param offered: the parameters of AUTH in the server's EHLO reply.
    @param seconds: how long to wait for each reply.
    @raise LoginFailed: there is none, or the server refuses.
    @raise ProtocolError: the server strays from the mechanism, or fails to prove what that has it prove.
    @raise SendingFailed: see L{ClientChannel.command}.
    """
    reply = None
    for name in usable(offered):
        reply = await _authenticate(channel, name, login, seconds)
        if reply.code != _NOT_THIS_ONE:
            break
    if reply is None:
        raise LoginFailed("the server offers no way to log in that is known here")
    if not reply.positive:
        raise LoginFailed(f"the server refuses the login: {reply}", reply)


async def _authenticate(channel: ClientChannel, name: str, login: Login, seconds: float) -> Reply:
    try:
        mechanism = MECHANISMS[name](login)
        line, response = f"AUTH {name}", mechanism.initial
        if (
            response is not None and len(line) + 1 + len(_base64(response)) <= _MAX_LINE
        ):  # else it waits for a challenge
            line, response = f"{line} {_base64(response)}", None
        reply = await channel.command(line, seconds, _EITHER, told=f"AUTH {name}")
        while reply.code // 100 == 3:
            if response is None:
                response = await login.in_thread(partial(mechanism.respond, b64decode(reply.text, validate=True)))
            line, response = _base64(response), None
            reply = await channel.command(line, seconds, _EITHER, told="(a response)")
        if reply.positive and not mechanism.complete:
            raise BadChallenge("the server has not proven that it knows the password")
    except ValueError as error:
        failure = ProtocolError(f"the login went wrong: {error}")
        channel.drop(failure)
        raise failure from None
    return reply


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode("ascii")
