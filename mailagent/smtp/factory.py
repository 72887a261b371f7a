"""Makes sessions, knows them all, and ends them in good order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDeliveryFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from mailagent import log as events
from mailagent.budget import Budget
from mailagent.config import Limits
from mailagent.envelope.reply import Reply
from mailagent.smtp.admission import Admission, Admits
from mailagent.smtp.login import Authentication
from mailagent.smtp.peer import Peer
from mailagent.smtp.proxied import Proxies
from mailagent.smtp.role import Role
from mailagent.smtp.session import Session
from mailagent.smtp.turns import Turns

#: Seconds for the last replies to leave after the time for open transactions is up.
_LAST_WORDS = 1.0


class _RoleFactory(Factory):
    """Makes the sessions of one listener."""

    noisy = False

    def __init__(self, sessions: SessionFactory, role: Role, xclients: Proxies) -> None:
        self._sessions = sessions
        self._role = role
        self._xclients = xclients

    def buildProtocol(self, addr: IAddress | None) -> Session | None:
        session = self._sessions.buildProtocol(addr)
        if session is not None:
            session.deliveryFactory = self._sessions.deliveries(self._role)
            session.role = self._role
            session.xclients = self._xclients
            if self._role.knows_users:
                session.ctx = None  # nobody listens in on a local socket
        return session


class _ImplicitTLS(TLSMemoryBIOFactory):
    """TLS from the first octet. Like any factory, and unlike its parent, the one inside may turn a client away."""

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        session = self.wrappedFactory.buildProtocol(addr)
        return None if session is None else self.protocol(self, session)


class SessionFactory(smtp.SMTPFactory):
    """An C{smtp.SMTPFactory} of L{Session}s.

    @param deliveries: gives a fresh C{IMessageDelivery} to every MAIL.
    @param hostname: this server's name, for banner and replies.
    @param clock: for time-outs.
    @param tls: makes the TLS connections; without one, there is neither STARTTLS nor a listener with implicit TLS.
    @param budget: the memory for what waits, shared with others who hold some; its limit is set from the limits.
    @param reports: see L{Session}.
    @param role_deliveries: by the name of a role, what its listeners have in place of C{deliveries}.
    @param admission: who is let in, counted with others who share the limits.
    @ivar authentication: what logins are checked with; C{None}: there are none.
    """

    protocol = Session
    noisy = False
    _log = Logger()

    def __init__(
        self,
        deliveries: IMessageDeliveryFactory,
        hostname: str,
        limits: Limits,
        clock: IReactorTime,
        tls: IOpenSSLServerConnectionCreator | None = None,
        authentication: Authentication | None = None,
        budget: Budget | None = None,
        *,
        reports: bool = False,
        role_deliveries: Mapping[str, IMessageDeliveryFactory] = MappingProxyType({}),
        admission: Admits | None = None,
    ) -> None:
        super().__init__()
        self.authentication = authentication
        self.domain = hostname.encode("ascii")
        self._deliveries = deliveries
        self._role_deliveries = role_deliveries
        self._reports = reports
        self._tls = tls
        self._clock = clock
        self._turns = Turns(clock)
        self._budget = budget or Budget()
        self.limits = limits
        self._admission = admission or Admission()
        self._admitted: dict[Session, Peer] = {}
        self._drained: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self.sessions: set[Session] = set()

    @property
    def limits(self) -> Limits:
        """What sessions that begin from now on may ask for."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._budget.limit = limits.memory

    def deliveries(self, role: Role) -> IMessageDeliveryFactory:
        """What gives sessions with this role their deliveries."""
        return self._role_deliveries.get(role.name, self._deliveries)

    def buildProtocol(self, addr: IAddress | None) -> Session | None:
        """A session, or C{None} (the connection is closed) once the factory drains."""
        if self._drained is not None:
            return None
        session: Session = super().buildProtocol(addr)
        session.deliveryFactory = self._deliveries
        session.reports = self._reports
        session.authentication = self.authentication
        session.ctx = self._tls
        session.limits = self.limits
        session.timeout = self.limits.idle_time
        session.callLater = self._clock.callLater  # type: ignore[method-assign, assignment]
        session.seconds = self._clock.seconds
        session.budget = self._budget
        session.turns = self._turns
        session.admit = self._admit
        session.ended = self._ended
        session.released = self._leave
        return session

    def listener(self, role: Role, xclients: Proxies | None = None) -> IProtocolFactory:
        """The factory for a listener of this role. All listeners' sessions are this factory's.

        @param xclients: who may tell by XCLIENT who the client is; by default, nobody.
        @raise ValueError: the role wants TLS from the first octet, and there is none.
        """
        factory = _RoleFactory(self, role, xclients or Proxies([]))
        if not role.implicit_tls:
            return factory
        if self._tls is None:
            raise ValueError(f"the role {role.name} needs TLS")
        return _ImplicitTLS(self._tls, False, factory, self._clock)

    def drain(self, seconds: float) -> Deferred[None]:
        """Let open transactions finish, tell everybody else C{421}.

        @param seconds: how long a transaction may take to finish.
        @return: fires when no session is left, or shortly after the time is up, all sessions told.
        """
        self._drained = Deferred()
        self._each(lambda session: session.drain())
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
        self._each(lambda session: session.abort())

    def _give_up(self) -> None:
        self._deadline = None
        self._each(lambda session: session.transport.abortConnection())
        self._finish()

    def _each(self, end: Callable[[Session], None]) -> None:
        """Have every session end. One that fails keeps no other from it, and is left to the next, harder call."""
        for session in list(self.sessions):
            try:
                end(session)
            except Exception as error:
                events.ERROR(self._log, what="ending a session", reason=repr(error))

    def _admit(self, session: Session) -> Reply | None:
        """Let a session in; or once more, when its real peer is known.

        Only now is it one of ours: one whose TLS could not even begin is never heard of again.
        """
        self.sessions.add(session)
        self._leave(session)
        refusal = self._admission.enter(session.peer, self._limits)
        if refusal is None:
            self._admitted[session] = session.peer
        return refusal

    def _leave(self, session: Session) -> None:
        """Count a session no more. What it left behind, a message that waits for the disk, has been counted with it."""
        peer = self._admitted.pop(session, None)
        if peer is not None:
            self._admission.leave(peer)

    def _ended(self, session: Any) -> None:
        self.sessions.discard(session)
        if not self.sessions:
            self._finish()

    def _finish(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)
