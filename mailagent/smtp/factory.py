"""Makes sessions, knows them all, and ends them in good order."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDeliveryFactory

from mailagent.config import Limits
from mailagent.envelope.reply import Reply
from mailagent.smtp.admission import Admission
from mailagent.smtp.budget import Budget
from mailagent.smtp.session import Session

#: Seconds for the last replies to leave after the time for open transactions is up.
_LAST_WORDS = 1.0


class SessionFactory(smtp.SMTPFactory):
    """An C{smtp.SMTPFactory} of L{Session}s.

    @param deliveries: gives a fresh C{IMessageDelivery} to every MAIL.
    @param hostname: this server's name, for banner and replies.
    @param clock: for time-outs.
    """

    protocol = Session
    noisy = False

    def __init__(self, deliveries: IMessageDeliveryFactory, hostname: str, limits: Limits, clock: IReactorTime) -> None:
        super().__init__()
        self.domain = hostname.encode("ascii")
        self._deliveries = deliveries
        self._limits = limits
        self._clock = clock
        self._budget = Budget(limits.memory)
        self._admission = Admission()
        self._admitted: set[Session] = set()
        self._drained: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self.sessions: set[Session] = set()

    def buildProtocol(self, addr: IAddress | None) -> Session | None:
        """A session, or C{None} (the connection is closed) once the factory drains."""
        if self._drained is not None:
            return None
        session: Session = super().buildProtocol(addr)
        session.deliveryFactory = self._deliveries
        session.limits = self._limits
        session.timeout = self._limits.idle_time
        session.callLater = self._clock.callLater  # type: ignore[method-assign, assignment]
        session.seconds = self._clock.seconds
        session.budget = self._budget
        session.admit = self._admit
        session.ended = self._ended
        self.sessions.add(session)
        return session

    def drain(self, seconds: float) -> Deferred[None]:
        """Let open transactions finish, tell everybody else C{421}.

        @param seconds: how long a transaction may take to finish.
        @return: fires when no session is left, or shortly after the time is up, all sessions told.
        """
        self._drained = Deferred()
        for session in list(self.sessions):
            session.drain()
        if not self.sessions:
            return succeed(None)
        self._deadline = self._clock.callLater(seconds, self.abort)
        return self._drained

    def abort(self) -> None:
        """While draining: wait no longer."""
        if self._drained is None or self._drained.called:
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = self._clock.callLater(_LAST_WORDS, self._give_up)
        for session in list(self.sessions):
            session.abort()

    def _give_up(self) -> None:
        self._deadline = None
        for session in list(self.sessions):
            session.transport.abortConnection()
        self._finish()

    def _admit(self, session: Session) -> Reply | None:
        refusal = self._admission.enter(session.peer, self._limits)
        if refusal is None:
            self._admitted.add(session)
        return refusal

    def _ended(self, session: Any) -> None:
        self.sessions.discard(session)
        if session in self._admitted:
            self._admitted.discard(session)
            self._admission.leave(session.peer)
        if not self.sessions:
            self._finish()

    def _finish(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)
