"""Who may log in, as the users file says now.

The file is looked at when somebody logs in, at most once a second, in a thread; a file that has changed is read
again. One that cannot be used is told in the log and changes nothing: the last good one stays. Somebody who does not
exist is treated like somebody who does: a salt that stays the same, the same work, the same refusal.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.config import user_key
from mailagent.directory.users_file import BadUsersFile, UsersFile
from mailagent.directory.users_storage import Fingerprint, fingerprint, read_file
from mailagent.directory.verifiers import ROUNDS, ScramVerifier, Verifier
from mailagent.envelope.address import Address
from mailagent.interfaces import ILogins, IProvenLogin

#: Seconds during which the file is not looked at again.
_FRESH = 1.0
#: Verified logins that are remembered.
_REMEMBERED = 4096


class UsersUnavailable(Exception):
    """No users file could be read yet, so nobody can be told from anybody: trouble on our side."""


class _Snapshot:
    """One state of the users file, and the logins verified against it."""

    def __init__(self, file: UsersFile, secret: bytes) -> None:
        self.file = file
        self._secret = file.secret or secret
        self._kinds = {user.verifier.looks: user.verifier for user in file.users.values()}
        self._cache_key = secrets.token_bytes(32)
        self._verified: OrderedDict[str, bytes] = OrderedDict()
        self.all_scram = all(isinstance(user.verifier, ScramVerifier) for user in file.users.values())

    def verifier(self, name: str) -> Verifier:
        """What a password for C{name} is checked against: the user's own, or that of somebody, for equal work."""
        user = self.file.find(name)
        return user.verifier if user else self._stand_in(name)

    def scram(self, name: str) -> ScramVerifier:
        """The user's SCRAM verifier, or for anybody else one that no password fits, the same at each call."""
        verifier = self.verifier(name)
        if isinstance(verifier, ScramVerifier) and self.file.find(name):
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
class Users:
    """The users of one file; checks what they prove or send (C{ICredentialsChecker}).

    @param path: the users file.
    @param run_in_thread: calls a blocking function in a bounded thread pool; gives a C{Deferred} of its result.
    @param seconds: tells the time, in seconds from some moment.
    @param look_in_thread: the same, in a pool where no password is checked: who is known never waits for a guess.
    """

    credentialInterfaces = (IProvenLogin, IUsernamePassword)
    _log = Logger()

    def __init__(
        self,
        path: str,
        run_in_thread: Callable[..., Deferred[Any]],
        seconds: Callable[[], float],
        look_in_thread: Callable[..., Deferred[Any]] | None = None,
    ) -> None:
        self._path = path
        self._run = run_in_thread
        self._look = look_in_thread or run_in_thread
        self._checks = 0
        self._seconds = seconds
        self._secret = secrets.token_bytes(32)
        self._snapshot: _Snapshot | None = None
        self._seen: Fingerprint | None = None
        self._looked: float | None = None
        self._looking: Deferred[None] | None = None

    # What the file says

    @property
    def all_scram(self) -> bool:
        """Whether SCRAM serves everybody: each user has a verifier for it."""
        return self._snapshot is not None and self._snapshot.all_scram

    def addresses(self, name: str) -> tuple[Address, ...] | None:
        """The addresses that are a user's beyond the name's own; C{None} if there is no such user any more."""
        user = self._snapshot.file.find(name) if self._snapshot else None
        return user.addresses if user else None

    def scram(self, name: str) -> ScramVerifier:
        """What a SCRAM exchange for C{name} is held with, whether there is such a user or not.

        @raise UsersUnavailable: no users file could be read yet.
        """
        return self._current().scram(name)

    def refresh(self) -> Deferred[None]:
        """Look whether the file has changed, unless that was done within the last second.

        @return: fires when what the file says is taken up. It does not fail.
        """
        if self._looking is not None:
            waiting: Deferred[None] = Deferred()
            self._looking.chainDeferred(waiting)
            return waiting
        if self._looked is not None and self._seconds() - self._looked < _FRESH:
            return succeed(None)
        looking: Deferred[None] = Deferred()
        self._looking = looking
        self._look(_look, self._path, self._seen).addCallbacks(self._found, self._keep).addBoth(self._done)
        return looking

    def _found(self, found: tuple[Fingerprint, UsersFile | BadUsersFile] | None) -> None:
        if found is None:
            return
        self._seen, file = found
        if isinstance(file, BadUsersFile):
            for line in file.lines:
                self._complain(line)
            return
        if self._snapshot is not None and not bytes(file).strip():
            self._complain("empty; a file that is to name nobody keeps its #secret line")
            return
        self.take_up(file)

    def take_up(self, file: UsersFile) -> None:
        """From now on, these are the users."""
        if not file.secret and (self._snapshot is None or self._snapshot.file.secret):
            text = f"{self._path}: no #secret line, so names can be probed over a restart; mailagent user writes one"
            events.NOTICE(self._log, text=text)
        self._snapshot = _Snapshot(file, self._secret)
        events.USERS_READ(self._log, path=self._path, users=len(file.users))

    def _keep(self, failure: Any) -> None:
        seen = Fingerprint.none(failure.getErrorMessage())
        if self._seen != seen:
            self._seen = seen
            self._complain(failure.getErrorMessage())

    def _complain(self, why: str) -> None:
        kept = "the last good one stays" if self._snapshot else "nobody can log in"
        events.ERROR(self._log, what=f"users file {self._path}, {kept}", reason=why)

    def _done(self, result: Any) -> None:
        if isinstance(result, Failure):
            events.ERROR(self._log, what="taking up the users file", reason=repr(result.value))
        self._looked = self._seconds()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.callback(None)

    def _current(self) -> _Snapshot:
        if self._snapshot is None:
            raise UsersUnavailable(self._path)
        return self._snapshot

    # ICredentialsChecker

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Check credentials that were proven (L{IProvenLogin}) or that hold a password (C{IUsernamePassword}).

        @return: the user's name as the file spells it, in UTF-8; fails with C{UnauthorizedLogin}, or with
            L{UsersUnavailable}.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes | tuple[()]:
        snapshot = self._current()
        name = credentials.username.decode("utf-8", "replace")
        user = snapshot.file.find(name)
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


def _look(path: str, seen: Fingerprint | None) -> tuple[Fingerprint, UsersFile | BadUsersFile] | None:
    """What the file says, if it is not as it was C{seen}. Blocks. @raise OSError: it cannot be read."""
    now = fingerprint(path)
    if now == seen:
        return None
    content = read_file(path)
    try:
        return now, UsersFile.parse(content)
    except BadUsersFile as error:
        return now, error
