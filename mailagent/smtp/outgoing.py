"""One mail transaction, as its sender (RFC 5321 section 3.3; LMTP, RFC 2033).

Guarantees:

  - each recipient has an outcome, always: its own refusal if it got one, else what was said of the message;
  - with PIPELINING (RFC 2920) the outcomes are those of lock-step, which is the case of one command in a group;
  - what is decided stays so: once every recipient is refused, nothing that goes wrong later is a failure;
  - if the connection goes between the end of the message and the verdict on it, the outcome is deferred, and says that
    it is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import attrs
from twisted.internet.defer import Deferred

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.reply import Reply
from mailagent.interfaces import LeaseLost
from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.extensions import Extensions, Limits
from mailagent.smtp.outgoing_content import Content, send_content
from mailagent.smtp.outgoing_parameters import NEEDS_UTF8, mail_line, rcpt_line
from mailagent.smtp.sending_failed import ProtocolError, SendingFailed, TransactionRefused
from mailagent.smtp.timeouts import Timeouts

#: Octets of commands that may be under way before their replies are read. Any server's buffers hold as much.
GROUP = 8192
#: Characters of a reply that are kept: a hundred recipients may have one each.
_KEPT = 2048
_TOO_MANY = Reply(452, "4.5.3", "The server takes no more recipients at once")

#: Asked before the content is sent: whether it still is ours to send.
StillOurs = Callable[[], Deferred[bool]]


@attrs.frozen
class Server:
    """Who the message goes to: what the server offers, the C{hop} it is, whether its TLS is C{verified}, and whether it
    speaks LMTP."""

    extensions: Extensions
    hop: Hop
    verified: bool = False
    lmtp: bool = False


@attrs.frozen
class _Command:
    line: str
    seconds: float
    take: Callable[[Reply], None]
    expect: tuple[int, ...] = (2,)


@attrs.define
class OutgoingTransaction:
    """What becomes of one envelope. For one use."""

    _channel: ClientChannel
    _timeouts: Timeouts
    _server: Server
    _envelope: Envelope
    _mail: Reply | None = attrs.field(default=None, init=False)
    _accepted: dict[Address, Reply] = attrs.field(factory=dict, init=False)
    _data: Reply | None = attrs.field(default=None, init=False)
    _decided: dict[Address, Outcome] = attrs.field(factory=dict, init=False)

    async def check(self) -> tuple[Outcome, ...]:
        """MAIL and each RCPT, and nothing more.

        @return: one outcome for each recipient, in their order; C{delivered} here means: would be accepted.
        @raise SendingFailed: see L{submit}.
        """
        try:
            await self._converse(self._addressing())
        except SendingFailed as failure:
            self._fail(failure)
        hop = self._server.hop
        return self._outcomes(
            {recipient: Outcome(recipient, reply, hop) for recipient, reply in self._accepted.items()}
        )

    async def submit(self, content: Content, still_ours: StillOurs | None = None) -> tuple[Outcome, ...]:
        """The whole transaction.

        @return: one outcome for each recipient, in their order.
        @raise TransactionRefused: the sender is refused, or the message is not one that this server can take.
        @raise SendingFailed: the connection is lost, or a wait took too long. In both cases C{outcomes} are complete.
        @raise LeaseLost: C{still_ours} said no.
        """
        try:
            commands = self._addressing()
            if len(commands) > 1:
                commands.append(_Command("DATA", self._timeouts.data, self._take_data, (3,)))
            await self._converse(commands, still_ours)
            if self._data is not None and not self._data.positive:
                self._decide_accepted(self._data)
            elif self._accepted:
                await self._send(content)
        except SendingFailed as failure:
            self._fail(failure)
        return self._outcomes({})

    def _addressing(self) -> list[_Command]:
        """MAIL and RCPTs. Recipients that need not be asked about are decided."""
        line = mail_line(self._envelope, self._server.extensions, self._server.verified)
        commands = [_Command(line, self._timeouts.mail, self._take_mail)]
        most = Limits.of(self._server.extensions).recipients
        for recipient in dict.fromkeys(self._envelope.recipients):
            rcpt = rcpt_line(recipient, self._envelope.wishes(recipient), self._server.extensions)
            if rcpt is None:
                self._decided[recipient] = Outcome(recipient, NEEDS_UTF8)
            elif most is not None and len(commands) > most:
                self._decided[recipient] = Outcome(recipient, _TOO_MANY)
            else:
                commands.append(_Command(rcpt, self._timeouts.rcpt, self._take_rcpt(recipient)))
        return commands

    @property
    def _sender_refused(self) -> bool:
        return self._mail is not None and not self._mail.positive

    def _take_mail(self, reply: Reply) -> None:
        self._mail = reply

    def _take_rcpt(self, recipient: Address) -> Callable[[Reply], None]:
        def take(reply: Reply) -> None:
            if reply.positive:
                self._accepted[recipient] = reply
            elif not self._sender_refused:  # else it only says so again
                self._decide(recipient, reply)

        return take

    def _take_data(self, reply: Reply) -> None:
        self._data = reply

    async def _converse(self, commands: list[_Command], still_ours: StillOurs | None = None) -> None:
        """Say the commands, as many at a time as the server takes, and take their replies, while there is hope."""
        for group in _groups(commands, GROUP if "PIPELINING" in self._server.extensions else 0):
            if group[-1].line == "DATA":
                if len(group) == 1 and not self._accepted:
                    break
                await self._ask(still_ours)
            self._channel.send(*(command.line for command in group))
            for command in group:
                command.take(await self._channel.reply(command.line, command.seconds, command.expect))
            if self._sender_refused:
                break
        if self._data is not None and self._data.positive and (self._sender_refused or not self._accepted):
            await self._end_nothing()
        if self._sender_refused:
            raise self._refusal()

    async def _ask(self, still_ours: StillOurs | None) -> None:
        try:
            ours = still_ours is None or await still_ours()
        except BaseException:
            self._channel.drop(SendingFailed("the sending was given up"))
            raise
        if ours:
            return
        if self._mail is not None:
            with suppress(SendingFailed):  # the next command will tell
                await self._channel.command("RSET", self._timeouts.command)
        raise LeaseLost

    async def _end_nothing(self) -> None:
        """Get out of a DATA that was sent ahead and allowed, though there is nobody to send to: by a lone dot (RFC 2920
        section 3.1)."""
        if self._accepted or self._server.lmtp:  # a dot might do something, or get who knows how many replies
            self._channel.drop(ProtocolError("the server wants a message for nobody"))
            return
        with suppress(SendingFailed):  # all outcomes are known
            await send_content(self._channel, (), self._timeouts.block)
            await self._channel.reply("the message", self._timeouts.verdict)

    def _refusal(self) -> TransactionRefused:
        path = self._envelope.reverse_path or ""
        return TransactionRefused(f"the server refuses the sender <{path}>: {self._mail}", self._mail)

    async def _send(self, content: Content) -> None:
        verdicts = len(self._accepted) if self._server.lmtp else 1
        refusal = await send_content(self._channel, content, self._timeouts.block, verdicts)
        if refusal is not None:
            self._decide_accepted(refusal)
        elif self._server.lmtp:
            for recipient in self._accepted:
                self._decide(recipient, await self._verdict())
        else:
            self._decide_accepted(await self._verdict())

    async def _verdict(self) -> Reply:
        try:
            return await self._channel.reply("the message", self._timeouts.verdict)
        except SendingFailed as failure:
            if failure.reply is None:
                reason = "after the whole message was sent: it is not known whether it was accepted"
                raise type(failure)(f"{failure.reason}, {reason}") from None
            raise

    def _decide(self, recipient: Address, reply: Reply) -> None:
        """Settle a recipient by a reply of the server's."""
        if len(reply.text) > _KEPT:
            reply = attrs.evolve(reply, text=reply.text[:_KEPT])
        notice = "relayed" if reply.positive and "DSN" not in self._server.extensions else ""
        self._decided[recipient] = Outcome(recipient, reply, self._server.hop, notice)

    def _decide_accepted(self, reply: Reply) -> None:
        for recipient in self._accepted:
            self._decide(recipient, reply)

    def _fail(self, failure: SendingFailed) -> None:
        """Raise the failure, with the outcomes: a refusal stands, an acceptance has come to nothing."""
        if self._sender_refused:
            failure = self._refusal()
        undecided = [recipient for recipient in self._envelope.recipients if recipient not in self._decided]
        if self._envelope.recipients and not undecided:
            return
        reply = failure.verdict
        ours = reply is not failure.reply or (self._mail is None and isinstance(failure, TransactionRefused))
        hop = attrs.evolve(self._server.hop, host="") if ours else self._server.hop
        self._decided |= {recipient: Outcome(recipient, reply, hop) for recipient in undecided}
        self._accepted = {}
        failure.outcomes = self._outcomes({})
        raise failure

    def _outcomes(self, others: Mapping[Address, Outcome]) -> tuple[Outcome, ...]:
        known = {**self._decided, **others}
        return tuple(known[recipient] for recipient in self._envelope.recipients)


def _groups(commands: list[_Command], octets: int) -> Iterator[list[_Command]]:
    """The commands in groups of at most so many octets, or of one command."""
    group: list[_Command] = []
    size = 0
    for command in commands:
        length = len(command.line.encode("utf-8", "replace")) + 2
        if group and size + length > octets:
            yield group
            group, size = [], 0
        group.append(command)
        size += length
    yield group
