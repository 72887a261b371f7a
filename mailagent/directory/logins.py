"""Who may log in, and the check of what they prove or send.

Who that is comes from outside, whole, by L{Logins.take_up}. Somebody who does not exist is treated like somebody who
does: a salt that stays the same, the same work, the same refusal.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from mailagent.config import user_key
from mailagent.directory.users_file import User
from mailagent.directory.verifiers import ROUNDS, ScramVerifier, Verifier
from mailagent.envelope.address import Address
from mailagent.interfaces import ILogins, IProvenLogin

#: Verified logins that are remembered.
_REMEMBERED = 4096


class KnownUsers(Protocol):
    """All who may log in, at one moment. C{users}: by L{user_key}. C{secret}: random, or empty where there is none."""

    @property
    def users(self) -> Mapping[str, User]: ...

    @property
    def secret(self) -> bytes: ...

    def find(self, name: str) -> User | None:
        """The user of that name, in whatever case."""


class UsersUnavailable(Exception):
    """Who may log in is not known yet, so nobody can be told from anybody: trouble on our side."""


class _Snapshot:
    """One state of the users, and the logins verified against it."""

    def __init__(self, known: KnownUsers, secret: bytes) -> None:
        self.known = known
        self._secret = known.secret or secret
        self._kinds = {user.verifier.looks: user.verifier for user in known.users.values()}
        self._cache_key = secrets.token_bytes(32)
        self._verified: OrderedDict[str, bytes] = OrderedDict()
        self.all_scram = all(isinstance(user.verifier, ScramVerifier) for user in known.users.values())

    def verifier(self, name: str) -> Verifier:
        """What a password for C{name} is checked against: the user's own, or that of somebody, for equal work."""
        user = self.known.find(name)
        return user.verifier if user else self._stand_in(name)

    def scram(self, name: str) -> ScramVerifier:
        """The user's SCRAM verifier, or for anybody else one that no password fits, the same at each call."""
        verifier = self.verifier(name)
        if isinstance(verifier, ScramVerifier) and self.known.find(name):
            return verifier
        rounds, length = (verifier.rounds, len(verifier.salt)) if isinstance(verifier, ScramVerifier) else (ROUNDS, 16)
        salt = self._mac(b"salt", name)[:length].ljust(length, b"\0")
        return ScramVerifier(rounds, salt, secrets.token_bytes(32), secrets.token_bytes(32))

    def _stand_in(self, name: str) -> Verifier:
        """One of the kinds of verifier there are, the same at each call.

        The kinds draw lots for each name, and the highest has it: so a user more or less changes what is seen of
        nobody, unless a kind comes or goes with the user; and then only for the names that are its own.
        """
        if not self._kinds:
            return ScramVerifier(ROUNDS, b"\0" * 16, b"\0" * 32, b"\0" * 32)
        return self._kinds[max(self._kinds, key=lambda looks: self._mac(b"kind " + looks.encode(), name))]

    def _mac(self, purpose: bytes, name: str) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + user_key(name).encode(), "sha256")

    def remembers(self, name: str, password: bytes) -> bool:
        """Whether this very login was verified before."""
        known = self._verified.get(user_key(name))
        return known is not None and hmac.compare_digest(known, self._login_mac(name, password))

    def remember(self, name: str, password: bytes) -> None:
        """The login is verified."""
        self._verified[user_key(name)] = self._login_mac(name, password)
        self._verified.move_to_end(user_key(name))
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)

    def _login_mac(self, name: str, password: bytes) -> bytes:
        digest = hashlib.sha256(password).digest()
        return hmac.digest(self._cache_key, digest + user_key(name).encode(), "sha256")


#: Passwords that may wait to be checked; who comes then is told to try again.
MOST_CHECKS = 32


@implementer(ICredentialsChecker, ILogins)
class Logins:
    """Checks logins (C{ICredentialsChecker}).

    @param run_in_thread: calls a blocking function in a bounded thread pool; gives a C{Deferred} of its result.
    """

    credentialInterfaces = (IProvenLogin, IUsernamePassword)
    _log = Logger()

    def __init__(self, run_in_thread: Callable[..., Deferred[Any]]) -> None:
        self._run = run_in_thread
        self._checks = 0
        self._secret = secrets.token_bytes(32)
        self._snapshot: _Snapshot | None = None

    def take_up(self, known: KnownUsers) -> None:
        """From now on, these are the users."""
        self.make_ready(known)()

    def make_ready(self, known: KnownUsers) -> Callable[[], None]:
        """Look through many users, in a thread.

        @return: takes them up; for the reactor's thread.
        """
        snapshot = _Snapshot(known, self._secret)

        def take_up() -> None:
            self._snapshot = snapshot

        return take_up

    def refresh(self) -> Deferred[None]:
        """See L{ILogins.refresh}. Whoever calls L{take_up} does so in time."""
        return succeed(None)

    @property
    def all_scram(self) -> bool:
        """Whether SCRAM serves everybody: each user has a verifier for it."""
        return self._snapshot is not None and self._snapshot.all_scram

    def addresses(self, name: str) -> tuple[Address, ...] | None:
        """The addresses that are a user's beyond the name's own; C{None} if there is no such user any more."""
        user = self._snapshot.known.find(name) if self._snapshot else None
        return user.addresses if user else None

    def scram(self, name: str) -> ScramVerifier:
        """What a SCRAM exchange for C{name} is held with, whether there is such a user or not.

        @raise UsersUnavailable: who may log in is not known yet.
        """
        return self._current().scram(name)

    def _current(self) -> _Snapshot:
        if self._snapshot is None:
            raise UsersUnavailable("who may log in is not known yet")
        return self._snapshot

    # ICredentialsChecker

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Check credentials that were proven (L{IProvenLogin}) or that hold a password (C{IUsernamePassword}).

        @return: the user's name as it is kept, in UTF-8; fails with C{UnauthorizedLogin}, or with
            L{UsersUnavailable}.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes | tuple[()]:
        snapshot = self._current()
        name = credentials.username.decode("utf-8", "replace")
        user = snapshot.known.find(name)
        if IProvenLogin.providedBy(credentials):
            if user is None or not credentials.proven:
                _refuse()
            return user.name.encode()
        if user is None or not snapshot.remembers(name, credentials.password):
            right = await self._verify(snapshot.verifier(name).check, credentials.password)
            if user is None or not right:
                _refuse()
            snapshot.remember(name, credentials.password)
        return user.name.encode()

    async def _verify(self, check: Callable[[bytes], bool], password: bytes) -> bool:
        if self._checks >= MOST_CHECKS:
            raise UsersUnavailable("too many passwords wait to be checked")
        self._checks += 1
        try:
            right: bool = await self._run(check, password)
        finally:
            self._checks -= 1
        return right


def _refuse() -> NoReturn:
    raise UnauthorizedLogin
