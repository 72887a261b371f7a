"""The server's side of one SMTP connection.

What is not a legal command in its state changes nothing (L{mailagent.smtp.verbs}); content never becomes commands,
whatever is wrong with it (L{mailagent.smtp.content}). Order, bounds and replies are L{mailagent.smtp.server_channel}'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.envelope.address import Address
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import Client
from mailagent.interfaces import ISessionFacts
from mailagent.smtp import grammar, replies, xclient
from mailagent.smtp.command_buffer import CommandBuffer
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.parameters import mail_parameters, rcpt_parameters
from mailagent.smtp.paths import Path
from mailagent.smtp.peer import Peer, tls_phrase, user_id
from mailagent.smtp.proxied import Proxies
from mailagent.smtp.session_auth import SessionAuth
from mailagent.smtp.transfer import Transfer
from mailagent.smtp.verbs import BARE_VERBS, LAST_IN_GROUP, NO_RECIPIENTS, NO_RECIPIENTS_LMTP, State, Verb, illegal


@implementer(ISessionFacts)
class Session(SessionAuth, Transfer):
    """An C{smtp.ESMTP} with its own machinery.

    These inherited attributes and methods keep their meaning: C{host}, C{timeout} (seconds of idleness),
    C{portal} (anonymous login), C{delivery}, C{deliveryFactory}, C{ctx}, C{canStartTLS}, C{startedTLS},
    C{greeting()}, C{extensions()}, C{validateFrom()}, C{validateTo()}, C{receivedHeader()}, C{sendCode()},
    C{callLater()}. Any C{IMessageDelivery} and C{IMessage} work here; one that provides
    L{mailagent.interfaces.IStreamedMessage} works faster. C{extensions()} decides which parameters are taken: where it
    has C{DSN} or C{REQUIRETLS} (see C{reports}), theirs reach the delivery in L{Path.parameters}.

    @ivar limits: what one client may ask for.
    @ivar role: what the listener is for.
    @ivar authenticated: whether the client has logged in.
    @ivar peer: who is at the other end.
    @ivar xclients: who may tell by XCLIENT who is.
    @ivar turns: where it waits with others that have sent very many commands; C{None}: there are none.
    @ivar seconds: tells the time, in seconds from some moment.
    @ivar ended: called with the session when its connection is gone.
    @ivar released: called with the session when, moreover, nothing is pending of what its client asked for; perhaps
        more than once.
    @ivar authentication: what logins are checked with; C{None} where there are none.
    @ivar reports: whether the delivery sends reports (RFC 3461) and minds RFC 8689; then both are offered, the latter
        inside TLS.
    """

    reports = False
    xclients = Proxies([])

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._session_rcpt_count = 0
        self._helo_name = b""

    @property
    def client(self) -> Client:
        """Who is at the other end, as of now (L{ISessionFacts})."""
        tls = tls_phrase(self.transport)
        base = "LMTP" if self.role.lmtp else "ESMTP" if self._extended else "SMTP"
        protocol = f"UTF8{base.removeprefix('E')}" if self._parameters.utf8 else base
        if self._extended:
            protocol += ("S" if tls else "") + ("A" if self.login_name else "")
        name = self._helo_name.decode("ascii", "replace")
        return Client(self.peer.address, name, protocol, tls, self.login_name, self.peer.user)

    def _peer_now(self) -> Peer:
        peer = super()._peer_now()
        return attrs.evolve(peer, user=user_id(self.transport)) if self.role.knows_users else peer

    @property
    def _helo_pair(self) -> tuple[bytes | None, bytes]:
        """What C{IMessageDelivery} methods get as C{helo}: the name given, the peer's address."""
        return self._helo_name or None, self.peer.address.encode()

    def _command(self, line: bytes) -> None:
        command = grammar.parse_command(line)
        verb = command.verb
        if verb is None:
            if command.is_http:
                self._refuse("HTTP", replies.NOT_HTTP)
            else:
                self._refuse("unknown", replies.UNKNOWN_COMMAND)
            return
        if self._must_wait(verb) and self._ahead_of_answer(verb.name):
            return
        refusal = self._refusal(verb) if verb is not Verb.BDAT else None
        if refusal is None and verb in BARE_VERBS and command.argument:
            refusal = replies.NO_ARGUMENT
        if refusal is None:
            try:
                getattr(self, f"do_{verb.name}")(command.argument)
            except SyntaxFault as fault:
                refusal = fault.reply
        if refusal is not None:
            self._refuse(verb.name, refusal)

    def _refusal(self, verb: Verb) -> Reply | None:
        """Why C{verb} may not come now: the listener's role is asked first, then the state."""
        refusal = self.role.refusal(verb, encrypted=self.confidential, authenticated=self.authenticated)
        refusal = refusal or illegal(self._state, verb)
        return NO_RECIPIENTS_LMTP if refusal is NO_RECIPIENTS and self.role.lmtp else refusal

    @property
    def _answers_each(self) -> bool:
        return self.role.lmtp

    def _must_wait(self, verb: Verb) -> bool:
        greeting = verb in (Verb.HELO, Verb.EHLO, Verb.LHLO) and not self.limits.pipelined_greeting
        return greeting or verb in LAST_IN_GROUP

    # Commands without a decision

    def do_HELO(self, rest: bytes) -> None:
        self._greet(rest, extended=False)
        self._send(Reply(250, "", self.host.decode("ascii")))

    def do_EHLO(self, rest: bytes) -> None:
        name = self._greet(rest, extended=True)
        extensions = self.listExtensions().decode("ascii")
        self._send(Reply(250, "", f"{self.host.decode('ascii')} greets {name}\n{extensions}"))

    def do_LHLO(self, rest: bytes) -> None:
        """RFC 2033 section 4.1; only an LMTP listener's role lets it through."""
        self.do_EHLO(rest)

    def _greet(self, rest: bytes, extended: bool) -> str:
        name = grammar.parse_helo(rest)
        self._helo_name = name.encode()
        self._extended = extended
        self._reset()
        self._state = State.GREETED
        return name

    def greeting(self) -> bytes:
        return bytes(self.host) + b" ESMTP mailagent"

    def extensions(self) -> dict[bytes, list[bytes] | None]:
        """What EHLO offers, in the form of C{smtp.ESMTP.extensions}."""
        offered: dict[bytes, list[bytes] | None] = {
            b"PIPELINING": None,
            b"SIZE": [b"%d" % self.limits.message_size],
            b"8BITMIME": None,
            b"ENHANCEDSTATUSCODES": None,
            b"HELP": None,
            b"SMTPUTF8": None,
            b"CHUNKING": None,
            b"LIMITS": [b"RCPTMAX=%d" % self.limits.recipients],
        }
        if self.reports:
            offered[b"DSN"] = None
            if self.encrypted:
                offered[b"REQUIRETLS"] = None
        if self.canStartTLS and not self.encrypted:
            offered[b"STARTTLS"] = None
        if self._may_xclient:
            offered[b"XCLIENT"] = [name.encode() for name in xclient.OFFERED]
        if self._login_mechanisms:
            offered[b"AUTH"] = self._login_mechanisms
        return offered

    def do_RSET(self, rest: bytes) -> None:
        self._reset()
        self._reply(replies.OK)

    def do_NOOP(self, rest: bytes) -> None:
        self._reply(replies.OK)

    def do_QUIT(self, rest: bytes) -> None:
        self._close(replies.BYE)

    def do_VRFY(self, rest: bytes) -> None:
        """RFC 5321 section 3.5.3; the parameter is RFC 6531 section 3.7.4.2's."""
        address = grammar.parse_vrfy(rest)
        if not address.isascii() and not rest.upper().endswith(b" SMTPUTF8"):
            raise SyntaxFault(replies.UTF8_NEEDED)
        self._reply(replies.NOT_VERIFIED)

    def do_HELP(self, rest: bytes) -> None:
        if not rest:
            self._reply(Reply(214, "2.0.0", "Commands: " + " ".join(verb.name for verb in self._implemented())))
            return
        topic = rest.decode("ascii", "replace").upper()
        verbs = [verb for verb in self._implemented() if verb.name == topic]
        self._reply(Reply(214, "2.0.0", f"Syntax: {verbs[0].value}") if verbs else replies.NO_SUCH_TOPIC)

    def _implemented(self) -> list[Verb]:
        absent = {Verb.EXPN, *(verb for verb in Verb if self.role.unknown(verb))}
        if not self._login_mechanisms:
            absent.add(Verb.AUTH)
        if not self.canStartTLS:
            absent.add(Verb.STARTTLS)
        if not self._may_xclient:
            absent.add(Verb.XCLIENT)
        return [verb for verb in Verb if verb not in absent]

    def do_EXPN(self, rest: bytes) -> None:
        raise SyntaxFault(replies.NOT_IMPLEMENTED)

    def do_STARTTLS(self, rest: bytes) -> None:
        """RFC 3207. What came in the clear with the command or before it is forgotten (CVE-2011-0411)."""
        if not self.canStartTLS or self.encrypted:
            raise SyntaxFault(replies.NOT_IMPLEMENTED)
        self._reply(replies.START_TLS)
        self._flush()
        self._input = CommandBuffer()
        self._start_over()
        self.startedTLS = True
        try:
            self.transport.startTLS(self.ctx)
        except Exception as error:
            events.ERROR(self._log, what="starting TLS", reason=repr(error))
            self._break_off(Failure())

    def do_XCLIENT(self, rest: bytes) -> None:
        """Postfix's C{XCLIENT_README}: a proxy tells who its client is."""
        if not self._may_xclient:
            raise SyntaxFault(replies.NO_XCLIENT)
        peer = xclient.parse(rest).peer(self.peer)
        events.CLIENT_TOLD(self._log, proxy=str(Peer.of(self.transport)), peer=str(peer))
        self._start_over()
        self.peer = peer
        if not self._turned_away():
            self._send(Reply(220, "", self.greeting().decode("ascii", "replace")))

    @property
    def _may_xclient(self) -> bool:
        return Peer.of(self.transport) in self.xclients

    def _start_over(self) -> None:
        """Be as at the banner: what the client has said and become is forgotten."""
        self._extended = False
        self._helo_name = b""
        self._reset()
        self._log_out()
        self._state = State.START

    # A transaction

    def do_MAIL(self, rest: bytes) -> None:
        sender, parameters = grammar.parse_mail(rest)
        self._parameters = mail_parameters(parameters, self._offered if parameters else ())
        self._check_utf8(sender)
        if (self._parameters.size or 0) > self.limits.message_size:
            raise SyntaxFault(replies.TOO_LARGE)
        origin = Path(sender, parameters=self._parameters)
        self._decide(maybeDeferred(self.validateFrom, self._helo_pair, origin), self._sender_accepted)

    def _sender_accepted(self, origin: Any) -> None:
        self._from = origin
        self._state = State.MAIL
        self._reply(replies.SENDER_OK)

    def do_RCPT(self, rest: bytes) -> None:
        recipient, parameters = grammar.parse_rcpt(rest)
        kept = rcpt_parameters(parameters, self._offered if parameters else ())
        self._check_utf8(recipient)
        if self._rcpt_count >= self.limits.recipients:
            self._reply(replies.TOO_MANY_RECIPIENTS)
            return
        if self._session_rcpt_count >= self.limits.recipients_per_session:
            self._reply(replies.TOO_MANY_RECIPIENTS_HERE)
            return
        self._rcpt_count += 1
        self._session_rcpt_count += 1
        user = smtp.User(Path(recipient, self.host, kept), self._helo_pair, self, self._from)
        self._decide(maybeDeferred(self.validateTo, user), lambda message: self._recipient_accepted(user, message))

    def _recipient_accepted(self, user: smtp.User, make_message: Callable[[], Any]) -> None:
        self._users.append(user)
        self._recipients.append(make_message)
        self._state = State.RCPT
        self._reply(replies.RECIPIENT_OK)

    @property
    def _offered(self) -> set[str]:
        """The extensions this client may use."""
        return {keyword.decode("ascii") for keyword in self.extensions()} if self._extended else set()

    def _check_utf8(self, address: Address | None) -> None:
        if address is not None and not str(address).isascii() and not self._parameters.utf8:
            raise SyntaxFault(replies.UTF8_NEEDED)
