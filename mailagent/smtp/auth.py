"""SASL mechanisms (RFC 4422) as exchanges without any I/O: responses in, challenges and credentials out.

An exchange is what C{smtp.ESMTP} calls a challenger: C{getChallenge}, C{setResponse} and C{moreChallenges}, and in the
end the credentials for a C{twisted.cred} portal. Whatever the octets, C{setResponse} raises nothing but
L{MalformedResponse} and L{NotAllowed}, and what the user database raises.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Protocol

from scramp import ScramException, ScramMechanism
from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from mailagent.interfaces import IProvenLogin

#: Longest name and longest password, in octets.
MAX_NAME = 255
MAX_PASSWORD = 1024
#: Octets that fit on a reply line in base64.
_MAX_CHALLENGE = 350
_NOT_PROVEN = {"invalid-proof", "channel-bindings-dont-match"}


class MalformedResponse(Exception):
    """A response is not what the mechanism's grammar asks for."""


class NotAllowed(Exception):
    """The response asks for what nobody may have: to act for somebody else."""


class Exchange(Protocol):
    """One login on its way."""

    username: bytes

    def getChallenge(self) -> bytes:
        """What to ask the client now."""

    def setResponse(self, response: bytes) -> None:
        """Take the client's answer, or its initial response."""

    def moreChallenges(self) -> bool:
        """Whether there is something to ask yet."""


class ScramRecord(Protocol):
    """What a SCRAM exchange needs to know of a user (RFC 5802 section 3)."""

    @property
    def rounds(self) -> int: ...

    @property
    def salt(self) -> bytes: ...

    @property
    def stored_key(self) -> bytes: ...

    @property
    def server_key(self) -> bytes: ...


def decode(encoded: bytes) -> bytes:
    """A response from its base64 (RFC 4648 section 4, no octet outside of it). @raise MalformedResponse: it is none."""
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedResponse from None


class _PasswordExchange:
    """An exchange that ends with a name and a password."""

    def __init__(self) -> None:
        self.username = b""
        self.password = b""

    def checkPassword(self, password: bytes) -> bool:
        """See C{IUsernamePassword}; for checkers that hold passwords."""
        return hmac.compare_digest(self.password, password)

    def _set(self, username: bytes, password: bytes) -> None:
        if not 0 < len(username) <= MAX_NAME or not 0 < len(password) <= MAX_PASSWORD:
            raise MalformedResponse
        if b"\0" in username + password:
            raise MalformedResponse
        self.username, self.password = username, password


@implementer(IUsernamePassword)
class Plain(_PasswordExchange):
    """PLAIN (RFC 4616): C{[authzid] NUL name NUL password}."""

    def getChallenge(self) -> bytes:
        return b""

    def setResponse(self, response: bytes) -> None:
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise MalformedResponse
        self._set(parts[1], parts[2])
        if parts[0] not in (b"", parts[1]):
            raise NotAllowed

    def moreChallenges(self) -> bool:
        return not self.username


@implementer(IUsernamePassword)
class Login(_PasswordExchange):
    """LOGIN (draft-murchison-sasl-login): name and password, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._name = b""

    def getChallenge(self) -> bytes:
        return b"Password:" if self._name else b"Username:"

    def setResponse(self, response: bytes) -> None:
        if self._name:
            self._set(self._name, response)
        elif not 0 < len(response) <= MAX_NAME:
            raise MalformedResponse
        else:
            self._name = response

    def moreChallenges(self) -> bool:
        return not self.username


@implementer(IProvenLogin)
class ScramSha256:
    """SCRAM-SHA-256 (RFC 7677), without channel binding.

    @param record: what is known of the user of a name. For a name nobody has, it gives something of the same looks.
    """

    def __init__(self, record: Callable[[str], ScramRecord]) -> None:
        self.username = b""
        self.proven = False
        self._record = record
        self._server: Any = ScramMechanism("SCRAM-SHA-256").make_server(self._look_up)
        self._challenge: bytes | None = b""
        self._next: Callable[[str], None] = self._first

    def getChallenge(self) -> bytes:
        return self._challenge or b""

    def setResponse(self, response: bytes) -> None:
        try:
            self._next(response.decode())
        except UnicodeDecodeError:
            raise MalformedResponse from None

    def moreChallenges(self) -> bool:
        return self._challenge is not None

    def _look_up(self, name: str) -> tuple[bytes, bytes, bytes, int]:
        self.username = name.encode()
        if len(self.username) > MAX_NAME:
            raise MalformedResponse
        record = self._record(name)
        return record.salt, record.stored_key, record.server_key, record.rounds

    def _first(self, message: str) -> None:
        try:
            self._server.set_client_first(message)
        except ScramException as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, ScramException):
                raise error.__cause__ from None  # what _look_up raised
            raise MalformedResponse from None
        challenge: bytes = self._server.get_server_first().encode()
        if len(challenge) > _MAX_CHALLENGE:  # the client's nonce is in it
            raise MalformedResponse
        self._challenge = challenge
        self._next = self._final

    def _final(self, message: str) -> None:
        try:
            self._server.set_client_final(message)
        except ScramException as error:
            if error.server_error is None or error.server_error.value not in _NOT_PROVEN:
                raise MalformedResponse from None
            self._challenge = None
            return
        self.proven = True
        self._challenge = self._server.get_server_final().encode()
        self._next = self._acknowledged

    def _acknowledged(self, message: str) -> None:
        """Our own proof went out as a challenge, since C{235} takes none along (RFC 4954 section 4)."""
        if message:
            raise MalformedResponse
        self._challenge = None
