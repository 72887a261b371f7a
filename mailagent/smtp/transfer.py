"""How a message comes in: after DATA, to the final dot; or in chunks of announced length (BDAT, RFC 3030).

The octets of a chunk are taken whatever is wrong with the command or the message, so that the session stays in step
and none of them is ever a command. A message that fails in one chunk ends the transaction; the chunks that are still
under way are then out of order (503) and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.mail import smtp
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.envelope.reply import Reply
from mailagent.interfaces import IStreamedMessage
from mailagent.smtp import grammar, replies
from mailagent.smtp.content import ChunkDecoder, ContentDecoder
from mailagent.smtp.grammar import SyntaxFault
from mailagent.smtp.incoming import IncomingMessage
from mailagent.smtp.parameters import MailParameters
from mailagent.smtp.server_channel import Chunk, ServerChannel
from mailagent.smtp.verbs import State, Verb, illegal


class Transfer(ServerChannel):
    """A channel that has a state, a transaction, and ways for the content to come in."""

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._state = State.START
        self._extended = False
        self._parameters = MailParameters()
        self._recipients: list[Callable[[], Any]] = []
        self._users: list[smtp.User] = []
        self._rcpt_count = 0

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun by MAIL and has not ended."""
        return self._state.in_transaction

    @property
    def _helo_pair(self) -> tuple[bytes | None, bytes]:
        """What C{IMessageDelivery} methods get as C{helo}: the name given, the peer's address."""
        raise NotImplementedError

    def _refusal(self, verb: Verb) -> Reply | None:
        """Why C{verb} may not come now; C{None} where it may."""
        return illegal(self._state, verb)

    @property
    def _answers_each(self) -> bool:
        """Whether the end of the content is answered for each recipient (LMTP)."""
        return False

    def do_DATA(self, rest: bytes) -> None:
        refusal = self._open_content(ContentDecoder())
        if refusal is not None:
            self._reply(refusal)
            return
        self._in_data = True
        self._reply(replies.START_CONTENT)

    def do_BDAT(self, rest: bytes) -> None:
        """RFC 3030 section 2. Called in every state, for the chunk has to be taken in every state."""
        try:
            length, last = grammar.parse_bdat(rest)
            if self._input.speaks_newlines:
                raise SyntaxFault(replies.LINE_ENDS_FOR_CHUNKS)
        except SyntaxFault as fault:  # where the chunk ends is not known
            self._refuse("BDAT", fault.reply)
            self._close(replies.TOO_MANY_ERRORS)
            return
        refusal = self._refusal(Verb.BDAT) if self._extended else replies.NOT_IMPLEMENTED
        self._chunk = Chunk(length, last, refusal)
        if refusal is None and self._incoming is None:
            self._chunk.refusal = self._open_content(ChunkDecoder())
            if self._chunk.refusal is not None and last and self._answers_each:
                self._close(replies.BROKEN)  # so many replies are due, and the recipients are forgotten
        if self._incoming is not None and self._chunk.refusal is None:
            self._state = State.CHUNKS

    def _open_content(self, decoder: ContentDecoder | ChunkDecoder) -> Reply | None:
        """Make the recipients' messages ready for content.

        @return: C{None}, or the reply to a failure to do so; then the transaction has ended.
        """
        messages: list[Any] = []
        try:
            for user, make_message in zip(self._users, self._recipients, strict=True):
                messages.append(self._message(user, make_message))
        except Exception:
            IncomingMessage(messages, self.limits).abandon()
            self._reset()
            return self._reply_for(Failure())
        self._incoming = IncomingMessage(messages, self.limits, decoder, self._answers_each)
        return None

    def _message(self, user: smtp.User, make_message: Callable[[], Any]) -> Any:
        message = make_message()
        if not IStreamedMessage.providedBy(message):
            header = self.receivedHeader(self._helo_pair, self._from, [user])
            if header:
                message.lineReceived(header)
        return message

    def _chunk_taken(self, chunk: Chunk) -> None:
        if chunk.refusal is not None:
            if chunk.refusal.transient:  # our trouble is no mistake of the client's
                self._reply(chunk.refusal)
            else:
                self._refuse("BDAT", chunk.refusal)
            return
        incoming = self._incoming
        assert incoming is not None
        if chunk.last:
            self._incoming = None
            self._decide(incoming.finish(), self._content_taken)
        elif incoming.refusal is not None:
            self._content_taken([incoming.refusal])
        else:
            self._reply(Reply(250, "2.0.0", f"{chunk.length} octets received"))

    def _content_taken(self, answers: Sequence[Reply]) -> None:
        self._reset()
        for reply in answers:
            if reply.permanent:
                events.COMMAND_REFUSED(self._log, peer=str(self.peer), command="content", reply=str(reply))
            self._reply(reply)

    def _reset(self) -> None:
        """Forget the transaction, if there is one."""
        self._abandon()
        self._from = None
        self._parameters = MailParameters()
        self._users, self._recipients, self._rcpt_count = [], [], 0
        if self._state.in_transaction:
            self._state = State.GREETED
