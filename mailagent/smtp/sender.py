"""The sending side of SMTP (RFC 5321): greet, check recipients, submit messages, quit.

A small awaitable procedure over L{ClientChannel}, lock-step throughout. Guarantees:

  - each recipient has an outcome, always: its own refusal if it got one, else what was said of the message;
  - no wait is without limit (L{Timeouts}), and the loss of the connection ends any wait at once;
  - if the connection goes between the end of the message and the verdict on it, the outcome says that it is unknown;
  - nothing in an address can end a command line early.

Whatever ends a session is a L{SendingFailed}. A refusal by the server is an outcome and ends nothing, but for a refused
sender: that leaves no transaction to have outcomes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply
from mailagent.envelope.trace import address_literal
from mailagent.smtp.client_auth import Login, log_in
from mailagent.smtp.client_channel import ClientChannel, Watch, unwatched
from mailagent.smtp.client_tls import ClientTLS
from mailagent.smtp.sending_failed import NotSecure, SendingFailed, Unreachable

_WIRE_ADDRESS = re.compile(r".+@[!-;=?-~]+\Z")


@attrs.frozen
class Timeouts:
    """Seconds to wait in each phase (RFC 5321 section 4.5.3.2)."""

    greeting: float = 300.0
    command: float = 300.0  # EHLO, HELO, STARTTLS, RSET: the RFC names no time
    tls: float = 60.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    verdict: float = 600.0
    quit: float = 5.0  # everything is decided by then: it is only a courtesy


async def open_session(
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    name: str = "",
    timeouts: Timeouts | None = None,
    tls: ClientTLS | None = None,
    login: Login | None = None,
    watch: Watch = unwatched,
) -> Sender:
    """Connect, and greet; with C{tls}, only under TLS; with C{login}, log in: without TLS on loopback alone.

    @param name: this host's name, for EHLO; empty to give the connection's address literal instead.
    @param watch: is told of every wait, the one for the connection included.
    @raise Unreachable: no connection.
    @raise NotSecure: no TLS, or not with the server that was meant.
    @raise LoginFailed: the server does not let us in.
    @raise SendingFailed: the server does not want to talk, or cannot.
    """
    timeouts = timeouts or Timeouts()
    factory = Factory.forProtocol(lambda: ClientChannel(clock, timeouts.greeting, watch))
    factory.noisy = False
    if tls is not None and tls.implicit:
        endpoint = wrapClientTLS(tls.creator, endpoint)
    try:
        connecting = endpoint.connect(factory)
        watch("the connection", connecting)
        channel = await connecting
    except (ConnectError, DNSLookupError, OSError, ValueError) as error:
        raise Unreachable(f"cannot connect: {error}") from error
    assert isinstance(channel, ClientChannel)
    sender = Sender(channel, name or address_literal(channel.local_address), timeouts)
    try:
        await sender.greet()
        if tls is not None and not tls.implicit:
            await sender.start_tls(tls.creator)
        if login is not None:
            if tls is None and not channel.on_loopback:
                raise NotSecure("a password is never sent over a network without TLS")
            await sender.login(login)
    except SendingFailed:
        await sender.quit()
        raise
    return sender


@attrs.define
class Sender:
    """One session with a server, good for any number of transactions, one after the other.

    @ivar extensions: what the server offers: keyword in upper case to its parameters (RFC 5321 section 4.1.1.1).
    """

    _channel: ClientChannel
    _name: str
    _timeouts: Timeouts = Timeouts()
    extensions: Mapping[str, str] = attrs.field(factory=dict, init=False)

    async def greet(self) -> None:
        """Await the greeting; EHLO, or HELO where that is unknown (RFC 5321 section 3.2).

        @raise SendingFailed: the server refuses, or see L{ClientChannel.command}.
        """
        self._require(await self._channel.greeting(), "the server refuses the connection")
        await self._hello()

    async def start_tls(self, creator: IOpenSSLClientConnectionCreator) -> None:
        """Go over to TLS, and greet again: what was said before counts no more (RFC 3207 section 4.2).

        @raise NotSecure: the server does not offer it, or see L{ClientChannel.start_tls}.
        """
        if "STARTTLS" not in self.extensions:
            raise NotSecure("the server offers no TLS")
        reply = await self._channel.command("STARTTLS", self._timeouts.command)
        if not reply.positive:
            raise NotSecure(f"the server refuses TLS: {reply}", reply)
        await self._channel.start_tls(creator, self._timeouts.tls)
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
        reply = await self._channel.command(f"EHLO {self._name}", self._timeouts.command)
        if reply.permanent:
            reply = await self._channel.command(f"HELO {self._name}", self._timeouts.command)
        else:
            self.extensions = _extensions(reply)
        self._require(reply, "the server refuses the greeting")

    async def check(self, envelope: Envelope) -> tuple[Outcome, ...]:
        """Ask what would become of each recipient, and send nothing.

        @return: one outcome for each recipient, in their order; C{delivered} here means: would be accepted.
        @raise SendingFailed: the sender is refused, or see L{submit}.
        """
        replies: dict[Address, Reply] = {}
        with _outcomes_on_failure(envelope, replies):
            await self._address(envelope, replies)
        await self._reset()
        return _outcomes(envelope, replies)

    async def submit(self, envelope: Envelope, content: Iterable[bytes]) -> tuple[Outcome, ...]:
        """Send one message.

        @param content: its octets, header and body, cut anywhere, with any line ends. Taken a block at a time, as
            fast as the network is, and not at all unless a recipient is accepted.
        @return: one outcome for each recipient, in their order.
        @raise SendingFailed: the sender is refused, the message is not one this server can take, the connection is
            lost, a wait took too long; C{outcomes} are complete.
        @raise ProtocolError: the same, because the server strayed from the protocol.
        """
        replies: dict[Address, Reply] = {}
        with _outcomes_on_failure(envelope, replies):
            await self._address(envelope, replies)
            accepted = [recipient for recipient, reply in replies.items() if reply.positive]
            if accepted:
                replies |= dict.fromkeys(accepted, await self._data(content))
        if not any(reply.positive for reply in replies.values()):
            await self._reset()
        return _outcomes(envelope, replies)

    async def quit(self) -> None:
        """Take leave and close the connection. Never fails, and takes no more than a few seconds.

        To cancel it only cuts it short: what the session achieved stands.
        """
        with suppress(SendingFailed, CancelledError):
            await self._channel.command("QUIT", self._timeouts.quit)
        self._channel.close()

    async def _address(self, envelope: Envelope, replies: dict[Address, Reply]) -> None:
        """MAIL and each RCPT; the replies to the latter go into C{replies} as they come."""
        path = "" if envelope.reverse_path is None else self._on_the_wire(envelope.reverse_path)
        if path is None:
            raise SendingFailed(f"{envelope.reverse_path} cannot be sent from: {_NEEDS_UTF8.text}", _NEEDS_UTF8)
        line = f"MAIL FROM:<{path}>{self._mail_parameters(envelope)}"
        reply = await self._channel.command(line, self._timeouts.mail)
        self._require(reply, f"the server refuses the sender <{path}>")
        for recipient in dict.fromkeys(envelope.recipients):
            path = self._on_the_wire(recipient)
            if path is None:
                replies[recipient] = _NEEDS_UTF8
            else:
                replies[recipient] = await self._channel.command(f"RCPT TO:<{path}>", self._timeouts.rcpt)

    def _mail_parameters(self, envelope: Envelope) -> str:
        """SIZE (RFC 1870), BODY (RFC 6152) and SMTPUTF8 (RFC 6531), where offered and needed."""
        parameters = ""
        if envelope.size is not None and "SIZE" in self.extensions:
            limit = self.extensions["SIZE"]
            if limit.isdecimal() and 0 < int(limit) < envelope.size:
                reason = f"the message has {envelope.size} octets, the server takes {limit}"
                raise SendingFailed(reason, Reply(552, "5.3.4", reason))
            parameters += f" SIZE={envelope.size}"
        if envelope.eight_bit:
            if "8BITMIME" not in self.extensions:
                reason = "the message has 8-bit content, which the server does not take"
                raise SendingFailed(reason, Reply(554, "5.6.3", reason))
            parameters += " BODY=8BITMIME"
        if _needs_utf8(envelope):
            if "SMTPUTF8" in self.extensions:
                parameters += " SMTPUTF8"
            elif envelope.utf8_header:
                reason = "the header has addresses beyond ASCII, which the server does not take"
                raise SendingFailed(reason, Reply(553, "5.6.7", reason))
        return parameters

    def _on_the_wire(self, address: Address) -> str | None:
        """The address as it goes into a path, its domain in A-labels; C{None} if it cannot."""
        try:
            path = str(attrs.evolve(address, domain=address.domain if address.domain.isascii() else address.host))
        except ValueError:
            return None
        found = _WIRE_ADDRESS.match(path)
        sendable = path.isprintable() and (path.isascii() or "SMTPUTF8" in self.extensions)
        return path if sendable and (found or path.lower() == "postmaster") else None

    async def _data(self, content: Iterable[bytes]) -> Reply:
        reply = await self._channel.command("DATA", self._timeouts.data, expect=(3,))
        if not reply.positive:
            return reply
        return await self._channel.content(content, self._timeouts.block, self._timeouts.verdict)

    async def _reset(self) -> None:
        with suppress(SendingFailed):  # all outcomes are known; the next command will tell
            await self._channel.command("RSET", self._timeouts.command)

    @staticmethod
    def _require(reply: Reply, complaint: str) -> None:
        if not reply.positive:
            raise SendingFailed(f"{complaint}: {reply}", reply)


_NEEDS_UTF8 = Reply(553, "5.6.7", "The server takes only addresses in ASCII")


def _needs_utf8(envelope: Envelope) -> bool:
    """Whether anything in the message or its envelope cannot be said in ASCII; domains can, in A-labels."""
    addresses = (*filter(None, [envelope.reverse_path]), *envelope.recipients)
    return envelope.utf8_header or not all(address.local.isascii() for address in addresses)


def _extensions(reply: Reply) -> dict[str, str]:
    words = [line.split(None, 1) for line in reply.text.split("\n")[1:]]
    return {keyword.upper(): "".join(parameters) for keyword, *parameters in filter(None, words)}


@contextmanager
def _outcomes_on_failure(envelope: Envelope, replies: Mapping[Address, Reply]) -> Iterator[None]:
    """Give a failure the outcomes: a refusal stands, an acceptance has come to nothing."""
    try:
        yield
    except SendingFailed as failure:
        refused = {recipient: reply for recipient, reply in replies.items() if not reply.positive}
        failure.outcomes = _outcomes(envelope, dict.fromkeys(envelope.recipients, failure.verdict) | refused)
        raise


def _outcomes(envelope: Envelope, replies: Mapping[Address, Reply]) -> tuple[Outcome, ...]:
    return tuple(Outcome(recipient, replies[recipient]) for recipient in envelope.recipients)
