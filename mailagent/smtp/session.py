"""The server's side of one SMTP connection.

Rules that hold in every state:

  1. One command at a time. While a decision is pending, what arrives waits; replies leave in order, and those
     to one segment leave together.
  2. What is not a legal command in its state changes nothing (L{mailagent.smtp.verbs}).
  3. Content never becomes commands, whatever is wrong with it (L{mailagent.smtp.content}).
  4. Memory is bounded: an overlong line is thrown away as it comes, and a peer who sends ahead is not read.
  5. Trouble on our side is 4yz.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from mailagent import log as events
from mailagent.config import Limits
from mailagent.envelope.address import Address
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import Client
from mailagent.interfaces import ISessionFacts, IStreamedMessage
from mailagent.smtp import grammar, replies
from mailagent.smtp.command_buffer import CommandBuffer, LineFault
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.incoming import IncomingMessage
from mailagent.smtp.paths import Path
from mailagent.smtp.peer import Peer, tls_phrase
from mailagent.smtp.verbs import BARE_VERBS, State, Verb, illegal

#: Octets that may wait behind a pending decision before the peer is no longer read.
READ_AHEAD = 65536


@implementer(ISessionFacts)
class Session(smtp.ESMTP):
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

    transport: Any
    timeout: float  # type: ignore[assignment]
    limits = Limits()
    seconds: Callable[[], float] = staticmethod(time.monotonic)
    ended: Callable[[Session], None] = staticmethod(lambda session: None)
    _log = Logger()

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._state = State.START
        self._input = CommandBuffer()
        self._output: list[bytes] = []
        self._recipients: list[Callable[[], Any]] = []
        self._users: list[smtp.User] = []
        self._rcpt_count = 0
        self._incoming: IncomingMessage | None = None
        self._errors = 0
        self._helo_name = b""
        self._extended = False
        self._pending = False
        self._pumping = False
        self._paused = False
        self._draining = False
        self._over = False

    # The transport's side

    def connectionMade(self) -> None:
        self.peer = Peer.of(self.transport)
        self.canStartTLS = ITLSTransport.providedBy(self.transport) and self.ctx is not None
        self._connected_at = self.seconds()
        events.CONNECTED(self._log, peer=str(self.peer))
        self._send(Reply(220, "", self.greeting().decode("ascii", "replace")))
        self._flush()
        self.setTimeout(self.timeout)

    def dataReceived(self, data: bytes) -> None:
        self.resetTimeout()
        if self._over:
            return
        self._input.feed(data)
        self._pump()

    def timeoutConnection(self) -> None:
        if self._pending:  # it is we who are slow
            self.setTimeout(self.timeout)
        else:
            self._close(replies.IDLE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self.setTimeout(None)
        if self._incoming is not None:
            self._incoming.abandon()
            self._incoming = None
        if self._onLogout:
            self._onLogout()
            self._onLogout = None
        events.DISCONNECTED(
            self._log,
            peer=str(self.peer),
            seconds=self.seconds() - self._connected_at,
            reason=reason.getErrorMessage(),
        )
        self.ended(self)

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
    def busy(self) -> bool:
        """Whether a transaction is open or a decision is pending."""
        return self._pending or self._incoming is not None or self._state.in_transaction

    def drain(self) -> None:
        """Take no new transaction: close now, or when the open one has ended."""
        self._draining = True
        self._pump()

    def abort(self) -> None:
        """Close at once, whatever is open."""
        self._close(replies.SHUTTING_DOWN)

    # From octets to commands

    def _pump(self) -> None:
        """Carry out what has arrived, up to a decision that is pending, and write the replies together."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._pending and not self._over and self._step():
                pass
        finally:
            self._pumping = False
        self._flush()
        self._regulate()

    def _step(self) -> bool:
        """Take one command or all content there is; C{False} if there is nothing to take."""
        if self._incoming is not None:
            return self._take_content(self._incoming)
        if self._draining and not self._state.in_transaction:
            self._close(replies.SHUTTING_DOWN)
            return False
        if self._input.awaits_first_line and self.peer.local:
            self._input.allow_newlines()
        line = self._input.take_line()
        if line is None:
            return False
        if isinstance(line, LineFault):
            self._refuse(line.name, replies.LINE_FAULTS[line])
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        command = grammar.parse_command(line)
        verb = command.verb
        if verb is None:
            self._refuse(command.word, replies.UNKNOWN_COMMAND)
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

    def _refuse(self, command: str, reply: Reply) -> None:
        """Answer a mistake of the client's, and hang up after too many."""
        events.COMMAND_REFUSED(self._log, peer=str(self.peer), command=command, reply=str(reply))
        self._reply(reply)
        self._errors += 1
        if reply.code == 421:
            self._hang_up()
        elif self._errors >= self.limits.errors:
            self._close(replies.TOO_MANY_ERRORS)

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
        self._rcpt_count += 1
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
            IncomingMessage(messages, 0).abandon()
            self._reset()
            self._reply_to_failure(Failure())
            return
        self._incoming = IncomingMessage(messages, self.limits.message_size)
        self._reply(replies.START_CONTENT)

    def _message(self, user: smtp.User, make_message: Callable[[], Any]) -> Any:
        message = make_message()
        if not IStreamedMessage.providedBy(message):
            header = self.receivedHeader(self._helo_pair, self._from, [user])
            if header:
                message.lineReceived(header)
        return message

    def _take_content(self, incoming: IncomingMessage) -> bool:
        octets = self._input.take_all()
        if not octets:
            return False
        rest, wait = incoming.feed(octets)
        if rest is not None:
            self._incoming = None
            self._input.put_back(rest)
            self._decide(incoming.finish(), self._content_taken)
        elif wait is not None:
            self._decide(wait, lambda _: None)
        return True

    def _content_taken(self, reply: Reply) -> None:
        self._reset()
        self._reply(reply)

    def _reset(self) -> None:
        """Forget the transaction, if there is one."""
        self._from = None
        self._users, self._recipients, self._rcpt_count = [], [], 0
        if self._state.in_transaction:
            self._state = State.GREETED

    # Decisions and replies

    def _decide(self, decision: Deferred[Any], done: Callable[[Any], None]) -> None:
        """Hold everything until C{decision} is there, then answer and go on."""
        self._pending = True

        def go_on(result: object) -> None:
            self._pending = False
            if isinstance(result, Failure):  # answering failed: no reply is right any more
                events.ERROR(self._log, what="answering", reason=repr(result.value))
                self._close(replies.BROKEN)
            self._pump()

        decision.addCallback(done).addErrback(self._reply_to_failure).addBoth(go_on)

    def _reply_to_failure(self, failure: Failure) -> None:
        reply = replies.reply_for(failure)
        if reply is replies.LOCAL_ERROR:
            events.ERROR(self._log, what="deciding on a command", reason=repr(failure.value))
        self._reply(reply)

    def sendCode(self, code: int, message: bytes = b"") -> None:
        self._reply(Reply.read(code, message.decode("utf-8", "replace")))
        if not self._pumping:
            self._flush()

    def _reply(self, reply: Reply) -> None:
        self._send(replies.with_status(reply))

    def _send(self, reply: Reply) -> None:
        if not self._over:
            self._output.append(bytes(reply))

    def _flush(self) -> None:
        if self._output and self.transport is not None:
            self.transport.write(b"".join(self._output))
        self._output.clear()

    def _close(self, reply: Reply) -> None:
        if not self._over:
            self._reply(reply)
            self._hang_up()

    def _hang_up(self) -> None:
        self._over = True
        self._flush()
        if self._incoming is not None:
            self._incoming.abandon()
            self._incoming = None
        self.transport.loseConnection()

    def _regulate(self) -> None:
        """Stop reading a peer who sends far ahead of our decisions; read again when they are made."""
        ahead = self._pending and len(self._input) > READ_AHEAD
        if ahead and not self._paused:
            self.transport.pauseProducing()
        elif self._paused and not ahead and not self._over:
            self.transport.resumeProducing()
        self._paused = ahead
