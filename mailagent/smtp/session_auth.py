"""Logging in, in a session (RFC 4954): when AUTH is there, whose line is a response, and what a login changes.

The dialogue is L{mailagent.smtp.login}'s. What it gives takes the place of the delivery until the session is over, or
what was said before STARTTLS is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.mail.interfaces import IMessageDeliveryFactory

from mailagent.envelope.reply import Reply
from mailagent.smtp import grammar, replies
from mailagent.smtp.command_buffer import MAX_RESPONSE_LINE, LineFault
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.login import Authentication, Login
from mailagent.smtp.role import MX
from mailagent.smtp.server_channel import ServerChannel


class SessionAuth(ServerChannel):
    """The part of a session that knows of logins.

    @ivar role: what the listener is for.
    @ivar authentication: what logins are checked with; C{None} where there are none.
    """

    role = MX
    authentication: Authentication | None = None

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._login: Login | None = None
        self._without_login: tuple[Any, Any] | None = None

    @property
    def login_name(self) -> str:
        """The name the client has logged in with; C{""} before."""
        return self._login.name if self._login else ""

    @property
    def encrypted(self) -> bool:
        """Whether the session runs over TLS, from the first octet or since STARTTLS."""
        return self.startedTLS or ISSLTransport.providedBy(self.transport)

    @property
    def confidential(self) -> bool:
        """Whether a password may be said here: over TLS, or on loopback where that is allowed."""
        allowed = self.authentication is not None and self.authentication.plaintext_loopback
        return self.encrypted or (allowed and self.peer.local)

    @property
    def _login_mechanisms(self) -> list[bytes]:
        """What EHLO offers to log in by now; none where one cannot log in."""
        if self.authentication is None or not self.role.offers_authentication or not self.confidential:
            return []
        return [name.encode() for name in self.authentication.offer()]

    def do_AUTH(self, rest: bytes) -> None:
        """RFC 4954."""
        if self.authentication is None or not self.role.offers_authentication:
            raise SyntaxFault(replies.NOT_IMPLEMENTED)
        if not self.confidential:
            raise SyntaxFault(replies.TLS_NEEDED)
        if self.login_name:
            raise SyntaxFault(replies.LOGGED_IN_ALREADY)
        mechanism, initial = grammar.parse_auth(rest)
        self._login = login = Login(self.authentication, self.peer)
        self._go_on_with_login(lambda response: login.begin(mechanism, response), initial)

    @property
    def _awaits_response(self) -> bool:
        return self._login is not None and self._login.expects_response

    @property
    def _longest_line(self) -> int:
        return MAX_RESPONSE_LINE if self._awaits_response else super()._longest_line

    def _takes_response(self, line: bytes | LineFault) -> bool:
        """Take the line if a challenge is out, to which it is the answer."""
        if self._login is None or not self._awaits_response:
            return False
        if isinstance(line, LineFault):
            self._login.give_up()
            too_long = line in (LineFault.TOO_LONG, LineFault.FLOOD)
            self._refuse("AUTH", replies.RESPONSE_TOO_LONG if too_long else replies.MALFORMED_RESPONSE)
        else:
            self._go_on_with_login(self._login.respond, line)
        return True

    def _go_on_with_login(self, step: Callable[[Any], Deferred[Reply]], response: bytes | None) -> None:
        """Take one step, unless the client did not wait for the last one's answer: what it sent is no response."""
        if len(self._input):
            self._close(replies.OUT_OF_STEP)
        else:
            self._decide(step(response), self._login_answered)

    def _login_answered(self, reply: Reply) -> None:
        self._take_login()
        if len(self._input):
            self._close(replies.OUT_OF_STEP)
        elif reply.code == 421:
            self._close(reply)
        elif not reply.positive:
            self._refuse("AUTH", reply)
        else:
            self._reply(reply)
        if self._over:  # now, or the client has gone meanwhile: the login ends like any other
            self._log_out()

    def _take_login(self) -> None:
        if self._login is None or self._login.avatar is None:
            return
        self._without_login = (self.deliveryFactory, self.delivery)
        interface, avatar, self._onLogout = self._login.avatar
        factory = interface is IMessageDeliveryFactory
        self.deliveryFactory, self.delivery = (avatar, None) if factory else (None, avatar)
        self.authenticated = True

    def _log_out(self) -> None:
        self._login = None
        self.authenticated = False
        if self._without_login is None:
            return
        self.deliveryFactory, self.delivery = self._without_login
        self._without_login = None
        if self._onLogout:
            self._onLogout()
            self._onLogout = None
