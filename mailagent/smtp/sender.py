"""The sending side of SMTP (RFC 5321) and LMTP (RFC 2033): greet, check recipients, submit messages, quit.

A small awaitable procedure over L{ClientChannel}. Guarantees:

  - what L{OutgoingTransaction} says of each transaction;
  - no wait is without limit (L{Timeouts}), and the loss of the connection ends any wait at once;
  - what L{open_session} raises says nothing about any message, even where a server's 5yz is in it.

Whatever ends a session is a L{SendingFailed}. A refusal by the server is an outcome and ends nothing, but for a refused
sender: that leaves no transaction to have outcomes in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import address_literal
from mailagent.smtp.client_auth import Login, log_in
from mailagent.smtp.client_channel import ClientChannel, Watch, unwatched
from mailagent.smtp.client_tls import ClientTLS
from mailagent.smtp.extensions import Extensions, Limits, read_extensions
from mailagent.smtp.outgoing import OutgoingTransaction, Server, StillOurs
from mailagent.smtp.outgoing_content import Content
from mailagent.smtp.sending_failed import GreetingRefused, NotSecure, SendingFailed, TransactionRefused, Unreachable
from mailagent.smtp.timeouts import Timeouts


async def open_session(
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    name: str = "",
    timeouts: Timeouts | None = None,
    tls: ClientTLS | None = None,
    login: Login | None = None,
    watch: Watch = unwatched,
    *,
    host: str = "",
    lmtp: bool = False,
    logged: bool = True,
) -> Sender:
    """Connect, and greet; with C{tls}, under TLS (see L{ClientTLS}); with C{login}, log in: under verified TLS, or on
    loopback.

    @param name: this host's name, for EHLO; empty to give the connection's address literal instead.
    @param watch: is told of every wait, the one for the connection included.
    @param host: the server's name, for the outcomes.
    @param lmtp: whether it is an LMTP server.
    @param logged: whether the log gets every command and reply.
    @raise Unreachable: no connection.
    @raise GreetingRefused: the server does not want to talk.
    @raise NotSecure: no TLS, or not with the server that was meant.
    @raise HandshakeBroken: the connection went in the midst of the TLS handshake, or the time.
    @raise LoginFailed: the server does not let us in.
    @raise SendingFailed: the connection is lost, or a wait took too long, or the server does not speak the protocol.
    """
    timeouts = timeouts or Timeouts()
    if tls is not None and tls.implicit:
        endpoint = wrapClientTLS(tls.creator, endpoint)
    channel = await _connect(endpoint, lambda: ClientChannel(clock, timeouts.greeting, watch, logged=logged), watch)
    sender = Sender(channel, name or address_literal(channel.local_address), timeouts, host, lmtp)
    try:
        await sender.begin(tls, login)
    except SendingFailed:
        await sender.quit()
        raise
    return sender


async def _connect(
    endpoint: IStreamClientEndpoint, channel: Callable[[], ClientChannel], watch: Watch
) -> ClientChannel:
    factory = Factory.forProtocol(channel)
    factory.noisy = False
    try:
        connecting = endpoint.connect(factory)
        watch("the connection", connecting)
        connected = await connecting
    except (ConnectError, DNSLookupError, OSError, ValueError) as error:
        raise Unreachable(f"cannot connect: {error}") from error
    assert isinstance(connected, ClientChannel)
    return connected


@attrs.define
class Sender:
    """One session with a server, good for any number of transactions, one after the other.

    @ivar extensions: what the server offers: keyword in upper case to its parameters (RFC 5321 section 4.1.1.1).
    @ivar hop: the server, once greeted: it goes into each outcome that is the server's word.
    @ivar verified: whether TLS is in use, with a server that has proven to be the one that was meant.
    @ivar sent: how many transactions there have been, checks included.
    """

    _channel: ClientChannel
    _name: str
    _timeouts: Timeouts = attrs.field(factory=Timeouts)
    _host: str = ""
    _lmtp: bool = False
    extensions: Extensions = attrs.field(factory=dict, init=False)
    hop: Hop = attrs.field(default=Hop(), init=False)
    verified: bool = attrs.field(default=False, init=False)
    sent: int = attrs.field(default=0, init=False)
    _domains: set[str] = attrs.field(factory=set, init=False)

    @property
    def limits(self) -> Limits:
        """What the server takes at most. Recipients over its number for one message are deferred unasked."""
        return Limits.of(self.extensions)

    @property
    def idle_ok(self) -> bool:
        """Whether another transaction may begin: the connection stands, as far as is known, and the server takes one
        more in this session."""
        most = self.limits.messages
        return self._channel.open and (most is None or self.sent < most)

    def takes(self, domain: str) -> bool:
        """Whether another transaction may begin for recipients of C{domain} (canonical)."""
        most = self.limits.domains
        return self.idle_ok and (most is None or domain in self._domains or len(self._domains) < most)

    async def begin(self, tls: ClientTLS | None, login: Login | None) -> None:
        """Greet; then TLS, then log in, each where it is wanted. Raises what L{open_session} does."""
        await self.greet()
        if tls is not None:
            await self.protect(tls)
        if login is not None:
            if not self.verified and not self._channel.on_loopback:
                raise NotSecure("a password is never sent over a network without TLS")
            await self.login(login)

    async def greet(self) -> None:
        """Await the greeting; EHLO, or HELO where that is unknown (RFC 5321 section 3.2); for LMTP, LHLO alone.

        @raise GreetingRefused: the server refuses.
        @raise SendingFailed: see L{ClientChannel.reply}.
        """
        self._require(await self._channel.greeting(), "the server refuses the connection")
        await self._hello()

    async def protect(self, tls: ClientTLS) -> None:
        """Go over to TLS by STARTTLS, unless it is in use already, or optional and not to be had.

        @raise NotSecure: see L{start_tls}.
        """
        if not tls.implicit:
            try:
                await self.start_tls(tls)
            except NotSecure:
                if tls.optional and self._channel.open:
                    return
                raise
        self.verified = tls.verified

    async def start_tls(self, tls: ClientTLS) -> None:
        """Go over to TLS, and greet again: what was said before counts no more (RFC 3207 section 4.2).

        @raise NotSecure: the server does not offer it, or see L{ClientChannel.start_tls}.
        """
        if "STARTTLS" not in self.extensions:
            raise NotSecure("the server offers no TLS")
        reply = await self._channel.command("STARTTLS", self._timeouts.command)
        if not reply.positive:
            raise NotSecure(f"the server refuses TLS: {reply}", reply)
        await self._channel.start_tls(tls.creator, self._timeouts.tls)
        await self._hello()

    async def login(self, login: Login) -> None:
        """Log in (RFC 4954), by the best mechanism there is at both ends.

        @raise LoginFailed: none, or the server refuses.
        @raise SendingFailed: see L{log_in}.
        """
        offered = self.extensions.get("AUTH", "").split()
        await log_in(self._channel, offered, login, self._timeouts.command)

    async def _hello(self) -> None:
        self.extensions = {}
        self.hop = self._channel.hop(self._host)
        verb = "LHLO" if self._lmtp else "EHLO"
        reply = await self._channel.command(f"{verb} {self._name}", self._timeouts.command)
        if reply.permanent and not self._lmtp:
            reply = await self._channel.command(f"HELO {self._name}", self._timeouts.command)
        else:
            self.extensions = read_extensions(reply)
        self._require(reply, "the server refuses the greeting")

    @staticmethod
    def _require(reply: Reply, complaint: str) -> None:
        if not reply.positive:
            raise GreetingRefused(f"{complaint}: {reply}", reply)

    async def check(self, envelope: Envelope) -> tuple[Outcome, ...]:
        """Ask what would become of each recipient, and send nothing.

        @return: one outcome for each recipient, in their order; C{delivered} here means: would be accepted.
        @raise SendingFailed: see L{submit}.
        """
        outcomes = await self._transaction(envelope).check()
        await self.reset()
        return outcomes

    async def submit(
        self, envelope: Envelope, content: Content, still_ours: StillOurs | None = None
    ) -> tuple[Outcome, ...]:
        """Send one message.

        @param content: its octets, header and body, cut anywhere, with any line ends. Taken a block at a time, as
            fast as the network is, and not at all unless a recipient is accepted.
        @param still_ours: asked before DATA, with PIPELINING before what holds it.
        @return: one outcome for each recipient, in their order.
        @raise TransactionRefused: the server refuses the sender, or the message is not one that it can take. The
            session stands.
        @raise SendingFailed: the connection is lost, or a wait took too long. In both cases C{outcomes} are complete.
        @raise ProtocolError: the same, because the server strayed from the protocol.
        @raise LeaseLost: C{still_ours} said no. The session stands.
        """
        outcomes = await self._transaction(envelope).submit(content, still_ours)
        if not any(outcome.delivered for outcome in outcomes):
            await self.reset()
        return outcomes

    async def reset(self) -> bool:
        """Leave any transaction (RSET).

        @return: whether the session lives: a way to find out before it is used again.
        """
        with suppress(SendingFailed):  # whatever was to be known is known
            await self._channel.command("RSET", self._timeouts.command)
        return self._channel.open

    async def quit(self) -> None:
        """Take leave and close the connection. Never fails, and takes no more than a few seconds.

        To cancel it only cuts it short: what the session achieved stands.
        """
        with suppress(SendingFailed, CancelledError):
            await self._channel.command("QUIT", self._timeouts.quit)
        self._channel.close()

    def _transaction(self, envelope: Envelope) -> OutgoingTransaction:
        if self.limits.messages is not None and self.sent >= self.limits.messages:
            reason = "the server takes no more messages in this session"
            failure = TransactionRefused(reason, Reply(452, "4.5.3", reason))
            failure.outcomes = tuple(Outcome(recipient, failure.verdict) for recipient in envelope.recipients)
            raise failure
        self.sent += 1
        self._domains.update(recipient.domain.lower() for recipient in envelope.recipients)
        server = Server(self.extensions, self.hop, self.verified, self._lmtp)
        return OutgoingTransaction(self._channel, self._timeouts, server, envelope)
