"""Who may log in, as the users file says now.

The file is looked at when somebody logs in, at most once a second, in a thread; a file that has changed is read
again. One that cannot be used is told in the log and changes nothing: the last good one stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.directory.logins import KnownUsers, Logins
from mailagent.directory.users_file import BadUsersFile, UsersFile
from mailagent.directory.users_storage import Fingerprint, fingerprint, read_file

#: Seconds during which the file is not looked at again.
_FRESH = 1.0


class Users(Logins):
    """The users of one file; checks what they prove or send (C{ICredentialsChecker}).

    @param path: the users file.
    @param run_in_thread: calls a blocking function in a bounded thread pool; gives a C{Deferred} of its result.
    @param seconds: tells the time, in seconds from some moment.
    @param look_in_thread: the same, in a pool where no password is checked: who is known never waits for a guess.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        run_in_thread: Callable[..., Deferred[Any]],
        seconds: Callable[[], float],
        look_in_thread: Callable[..., Deferred[Any]] | None = None,
    ) -> None:
        super().__init__(run_in_thread)
        self._path = path
        self._look = look_in_thread or run_in_thread
        self._seconds = seconds
        self._seen: Fingerprint | None = None
        self._looked: float | None = None
        self._looking: Deferred[None] | None = None

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

    def take_up(self, known: KnownUsers) -> None:
        """From now on, these are the users."""
        if not known.secret and (self._snapshot is None or self._snapshot.known.secret):
            text = f"{self._path}: no #secret line, so names can be probed over a restart; mailagent user writes one"
            events.NOTICE(self._log, text=text)
        super().take_up(known)
        events.USERS_READ(self._log, path=self._path, users=len(known.users))

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
