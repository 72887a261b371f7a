"""The server's side of one SMTP connection.

What is not a legal command in its state changes nothing (L{mailagent.smtp.verbs}); content never becomes commands,
whatever is wrong with it (L{mailagent.smtp.content}). Order, bounds and replies are L{mailagent.smtp.exchange}'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.envelope.address import Address
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import Client
from mailagent.interfaces import ISessionFacts, IStreamedMessage
from mailagent.smtp import grammar, replies
from mailagent.smtp.command_buffer import CommandBuffer
from mailagent.smtp.exchange import Exchange
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.incoming import IncomingMessage
from mailagent.smtp.paths import Path
from mailagent.smtp.peer import tls_phrase
from mailagent.smtp.verbs import BARE_VERBS, HTTP_VERBS, LAST_IN_GROUP, State, Verb, illegal


@implementer(ISessionFacts)
class Session(Exchange):
    """An C{smtp.ESMTP} with its own machinery.

    These inherited attributes and methods keep their meaning: C{host}, C{timeout} (seconds of idleness),
    C{portal} (anonymous login), C{delivery}, C{deliveryFactory}, C{ctx}, C{canStartTLS}, C{startedTLS},
    C{greeting()}, C{extensions()}, C{validateFrom()}, C{validateTo()}, C{receivedHeader()}, C{sendCode()},
    C{callLater()}. Any C{IMessageDelivery} and C{IMessage} work here; one that provides
    L{IStreamedMessage} works faster.

    @ivar limits: what one client may ask for.
    @ivar peer: who is at the other end.
    @ivar seconds: tells the time, in seconds from some moment.
    @ivar ended: called with the session when its connection is gone.
    """

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._state = State.START
        self._recipients: list[Callable[[], Any]] = []
        self._users: list[smtp.User] = []
        self._rcpt_count = self._session_rcpt_count = 0
        self._helo_name = b""
        self._extended = False

    @property
    def client(self) -> Client:
        """Who is at the other end, as of now (L{ISessionFacts})."""
        tls = tls_phrase(self.transport)
        protocol = ("ESMTP" if self._extended else "SMTP") + ("S" if tls and self._extended else "")
        return Client(self.peer.address, self._helo_name.decode("ascii", "replace"), protocol, tls)

    @property
    def _helo_pair(self) -> tuple[bytes | None, bytes]:
        """What C{IMessageDelivery} methods get as C{helo}: the name given, the peer's address."""
        return self._helo_name or None, self.peer.address.encode()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun by MAIL and has not ended."""
        return self._state.in_transaction

    def _command(self, line: bytes) -> None:
        command = grammar.parse_command(line)
        verb = command.verb
        if verb is None:
            self._refuse(command.word, replies.NOT_HTTP if command.word in HTTP_VERBS else replies.UNKNOWN_COMMAND)
            return
        if self._must_wait(verb) and self._ahead_of_answer(verb.name):
            return
        refusal = illegal(self._state, verb)
        if refusal is None and verb in BARE_VERBS and command.argument:
            refusal = replies.NO_ARGUMENT
        if refusal is None:
            try:
                getattr(self, f"do_{verb.name}")(command.argument)
            except SyntaxFault as fault:
                refusal = fault.reply
        if refusal is not None:
            self._refuse(verb.name, refusal)

    def _must_wait(self, verb: Verb) -> bool:
        greeting = verb in (Verb.HELO, Verb.EHLO) and not self.limits.pipelined_greeting
        return greeting or verb in LAST_IN_GROUP

    # Commands without a decision

    def do_HELO(self, rest: bytes) -> None:
        self._greet(rest, extended=False)
        self._send(Reply(250, "", self.host.decode("ascii")))

    def do_EHLO(self, rest: bytes) -> None:
        name = self._greet(rest, extended=True)
        extensions = self.listExtensions().decode("ascii")
        self._send(Reply(250, "", f"{self.host.decode('ascii')} greets {name}\n{extensions}"))

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
        }
        if self.canStartTLS and not self.startedTLS:
            offered[b"STARTTLS"] = None
        return offered

    def do_RSET(self, rest: bytes) -> None:
        self._reset()
        self._reply(replies.OK)

    def do_NOOP(self, rest: bytes) -> None:
        self._reply(replies.OK)

    def do_QUIT(self, rest: bytes) -> None:
        self._close(replies.BYE)

    def do_VRFY(self, rest: bytes) -> None:
        self._reply(replies.NOT_VERIFIED if rest else replies.ARGUMENT_NEEDED)

    def do_HELP(self, rest: bytes) -> None:
        if not rest:
            self._reply(Reply(214, "2.0.0", "Commands: " + " ".join(verb.name for verb in self._implemented())))
            return
        topic = rest.decode("ascii", "replace").upper()
        verbs = [verb for verb in self._implemented() if verb.name == topic]
        self._reply(Reply(214, "2.0.0", f"Syntax: {verbs[0].value}") if verbs else replies.NO_SUCH_TOPIC)

    def _implemented(self) -> list[Verb]:
        absent = {Verb.EXPN, Verb.AUTH, Verb.BDAT}
        if not self.canStartTLS:
            absent.add(Verb.STARTTLS)
        return [verb for verb in Verb if verb not in absent]

    def do_EXPN(self, rest: bytes) -> None:
        raise SyntaxFault(replies.NOT_IMPLEMENTED)

    do_AUTH = do_BDAT = do_EXPN

    def do_STARTTLS(self, rest: bytes) -> None:
        """RFC 3207. What came in the clear with the command or before it is forgotten (CVE-2011-0411)."""
        if not self.canStartTLS or self.startedTLS:
            raise SyntaxFault(replies.NOT_IMPLEMENTED)
        self._reply(replies.START_TLS)
        self._flush()
        self._input = CommandBuffer()
        self._helo_name = b""
        self._reset()
        self._state = State.START
        self.startedTLS = True
        self.transport.startTLS(self.ctx)

    # A transaction

    def do_MAIL(self, rest: bytes) -> None:
        sender, parameters = grammar.parse_mail(rest)
        self._check_parameters(sender, parameters, {"SIZE", "BODY"})
        if "BODY" in parameters:
            grammar.parse_body(parameters["BODY"])
        if "SIZE" in parameters and grammar.parse_size(parameters["SIZE"]) > self.limits.message_size:
            raise SyntaxFault(replies.TOO_LARGE)
        self._decide(maybeDeferred(self.validateFrom, self._helo_pair, Path(sender)), self._sender_accepted)

    def _sender_accepted(self, origin: Any) -> None:
        self._from = origin
        self._state = State.MAIL
        self._reply(Reply(250, "2.1.0", "Sender OK"))

    def do_RCPT(self, rest: bytes) -> None:
        recipient, parameters = grammar.parse_rcpt(rest)
        self._check_parameters(recipient, parameters, set())
        if self._rcpt_count >= self.limits.recipients:
            self._reply(replies.TOO_MANY_RECIPIENTS)
            return
        if self._session_rcpt_count >= self.limits.recipients_per_session:
            self._reply(replies.TOO_MANY_RECIPIENTS_HERE)
            return
        self._rcpt_count += 1
        self._session_rcpt_count += 1
        user = smtp.User(Path(recipient, self.host), self._helo_pair, self, self._from)
        self._decide(maybeDeferred(self.validateTo, user), lambda message: self._recipient_accepted(user, message))

    def _recipient_accepted(self, user: smtp.User, make_message: Callable[[], Any]) -> None:
        self._users.append(user)
        self._recipients.append(make_message)
        self._state = State.RCPT
        self._reply(Reply(250, "2.1.5", "Recipient OK"))

    def _check_parameters(self, address: Address | None, parameters: Mapping[str, str | None], known: set[str]) -> None:
        if address is not None and not str(address).isascii():
            raise SyntaxFault(replies.UTF8_NOT_OFFERED)
        for keyword in parameters:
            if keyword not in known or not self._extended:
                raise SyntaxFault(replies.unknown_parameter(keyword))

    def do_DATA(self, rest: bytes) -> None:
        messages: list[Any] = []
        try:
            for user, make_message in zip(self._users, self._recipients, strict=True):
                messages.append(self._message(user, make_message))
        except Exception:
            IncomingMessage(messages, self.limits).abandon()
            self._reset()
            self._reply_to_failure(Failure())
            return
        self._incoming = IncomingMessage(messages, self.limits)
        self._reply(replies.START_CONTENT)

    def _message(self, user: smtp.User, make_message: Callable[[], Any]) -> Any:
        message = make_message()
        if not IStreamedMessage.providedBy(message):
            header = self.receivedHeader(self._helo_pair, self._from, [user])
            if header:
                message.lineReceived(header)
        return message

    def _content_taken(self, reply: Reply) -> None:
        self._reset()
        if reply.permanent:
            events.COMMAND_REFUSED(self._log, peer=str(self.peer), command="DATA", reply=str(reply))
        self._reply(reply)

    def _reset(self) -> None:
        """Forget the transaction, if there is one."""
        self._from = None
        self._users, self._recipients, self._rcpt_count = [], [], 0
        if self._state.in_transaction:
            self._state = State.GREETED
