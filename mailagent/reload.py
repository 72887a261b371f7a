"""A changed configuration taken up by the running server, without dropping a session.

What can be relied on:

  1. All or nothing: the whole of it is read, checked and made ready in a thread, and in every session process, and
     only then put in place.
  2. Sessions keep the limits and the certificate they began with; the whitelist is new for the next RCPT.
  3. The log tells what changed, what needs a restart, or all that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.config import Config, ConfigError
from mailagent.config.changes import Changes, changes
from mailagent.interfaces import MailboxUnwritable
from mailagent.parts import Parts
from mailagent.smtp.certificate import CertificateUnusable

#: Puts a changed configuration in place, now or when the C{Deferred} fires.
PutInPlace = Callable[[], Deferred[Any] | None]
#: Has other processes make a changed configuration ready; fires with what has them put it in place, or fails.
Agree = Callable[[Config], Deferred[Callable[[], Deferred[Any]]]]
#: Runs a job in a thread; what it returns, or fails with, comes by the C{Deferred}.
InThread = Callable[[Callable[[], "Ready"]], Deferred["Ready"]]


@attrs.frozen
class Ready:
    """A changed configuration, ready to be put in place."""

    changes: Changes
    put_in_place: PutInPlace


class Reload:
    """Call it to have the configuration read again. While that goes on, further calls become one, after it.

    @param config: what runs now.
    @param load: reads the configuration as it was read at the start. Blocks; raises L{ConfigError}.
    @param agree: asks those who share the work, if there are such.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        parts: Parts,
        in_thread: InThread,
        agree: Agree | None = None,
    ) -> None:
        self._config = config
        self._load = load
        self._parts = parts
        self._in_thread = in_thread
        self._agree = agree
        self._running = False
        self._again = False

    def __call__(self) -> None:
        if self._running:
            self._again = True
            return
        self._running = True
        ready = self._in_thread(self._read).addCallback(self._ask)
        ready.addCallbacks(self._take_up, self._refuse).addBoth(self._done)

    def _read(self) -> Ready:
        found = changes(self._config, self._load())
        return Ready(found, self._parts.make_ready(found.config))

    def _ask(self, ready: Ready) -> Ready | Deferred[Ready]:
        """Have all others ready too."""
        if self._agree is None:
            return ready

        def with_theirs(theirs: Callable[[], Deferred[Any]]) -> Ready:
            def put_in_place() -> Deferred[Any]:
                ready.put_in_place()
                return theirs()

            return attrs.evolve(ready, put_in_place=put_in_place)

        return self._agree(ready.changes.config).addCallback(with_theirs)

    def _take_up(self, ready: Ready) -> Deferred[None]:
        placed: Deferred[Any] = maybeDeferred(ready.put_in_place)
        return placed.addCallback(self._taken_up, ready.changes)

    def _taken_up(self, _: object, found: Changes) -> None:
        self._config = found.config
        events.RELOADED(self._parts.log, source=self._config.source, changed=found.taken or "nothing")
        if found.waiting:
            events.RESTART_NEEDED(self._parts.log, settings=found.waiting)

    def _refuse(self, failure: Failure) -> None:
        error = failure.value
        expected = isinstance(error, ConfigError | CertificateUnusable | MailboxUnwritable | OSError)
        for reason in str(error).splitlines() if expected else [repr(error)]:
            events.RELOAD_REFUSED(self._parts.log, reason=reason)

    def _done(self, result: object) -> None:
        if isinstance(result, Failure):
            events.ERROR(self._parts.log, what="taking up the configuration", reason=repr(result.value))
        self._running = False
        if self._again:
            self._again = False
            self()
