"""The machinery of a session: octets in, one command at a time, replies out in order.

  1. One command at a time. While a decision is pending, what arrives waits; replies leave in order, and those
     to one segment leave together.
  2. Memory is bounded: an overlong line is thrown away as it comes, and L{mailagent.smtp.connection} holds the
     peer back.
  3. Trouble on our side is 4yz.
  4. Who sends on where the answer decides how to go on (RFC 2920 section 3.1) is out of step, and let go: what it
     sent may be somebody else's words.

What the commands mean is L{mailagent.smtp.session}'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.envelope.reply import Reply
from mailagent.smtp import replies
from mailagent.smtp.command_buffer import MAX_LINE, LineFault
from mailagent.smtp.connection import READ_AHEAD, Connection
from mailagent.smtp.incoming import IncomingMessage

#: Commands of one session that are carried out while all others wait. One that pipelines a long group has fewer.
_MOST_STEPS = 25
#: After so many turns without a pause it waits for its turn with others of its kind. A message to a hundred recipients
#: (RFC 5321 section 4.5.3.1.8), sent in one go, has fewer.
_MOST_TURNS = 5

__all__ = ["READ_AHEAD", "ServerChannel"]


@attrs.define
class Chunk:
    """A BDAT chunk that is coming in: its C{length} in octets, how many are C{left}, whether it is the C{last}, and
    C{refusal}, what it is answered with if its octets are only to be thrown away."""

    length: int
    last: bool
    refusal: Reply | None
    left: int = attrs.field(default=attrs.Factory(lambda self: self.length, takes_self=True), init=False)


class ServerChannel(Connection):
    """Lines and content in, replies out. Subclasses say what a line means and whether a transaction is open."""

    def __init__(self, chal: Any = None, contextFactory: Any = None) -> None:
        super().__init__(chal, contextFactory)
        self._incoming: IncomingMessage | None = None
        self._in_data = False
        self._chunk: Chunk | None = None
        self._commands = 0
        self._errors = 0
        self._pumping = False
        self._turns_taken = 0

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun and has not ended."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether a transaction is open or a decision is pending."""
        return self._pending or self._incoming is not None or self.in_transaction

    @property
    def _patience(self) -> float:
        return self.limits.content_idle_time if self._in_data or self._chunk is not None else self.timeout

    def drain(self) -> None:
        """Take no new transaction: close now, or when the open one has ended."""
        self._draining = True
        self._pump()
        if not self._writable and not self.busy:
            self._close(replies.SHUTTING_DOWN)

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
            steps = 0
            while self._writable and not self._pending and not self._over and self._step():
                steps += 1
                if steps >= _MOST_STEPS and not self._pending:
                    self._give_way()
        finally:
            self._pumping = False
        self._flush()
        if self._ended and self._writable and not self._pending and not self._over:
            self._hang_up()
        self._regulate()

    def _give_way(self) -> None:
        """Let the others have their turn; those who have sent very many commands wait for each other."""
        turn: Deferred[None] = Deferred()
        self._decide(turn, lambda _: None)
        self._turns_taken += 1
        if self.turns is not None and self._turns_taken >= _MOST_TURNS:
            self.turns.wait(lambda: turn.callback(None))
        else:
            self.callLater(0, lambda: turn.callback(None))

    def _step(self) -> bool:
        """Take one command or all content there is; C{False} if there is nothing to take."""
        if self._expired:
            self._close(replies.SESSION_TOO_LONG)
            return False
        if self._chunk is not None:
            return self._take_chunk(self._chunk)
        if self._in_data and self._incoming is not None:
            return self._take_content(self._incoming)
        if self._draining and not self.in_transaction:
            self._close(replies.SHUTTING_DOWN)
            return False
        line = self._input.take_line(self._longest_line)
        if line is None:
            self._turns_taken = 0
            return False
        if self._takes_response(line):
            return True
        self._commands += 1
        if self._commands > self.limits.commands_per_session:
            self._close(replies.TOO_MANY_COMMANDS)
        elif isinstance(line, LineFault):
            self._line_fault(line)
        else:
            self._command(line)
        return True

    @property
    def _longest_line(self) -> int:
        """Octets that the line which is awaited may have, CRLF included."""
        return MAX_LINE

    def _takes_response(self, line: bytes | LineFault) -> bool:
        """Take the line if it is no command, whatever it looks like, but the answer to a question of ours."""
        return False

    def _command(self, line: bytes) -> None:
        """Carry out one command line."""
        raise NotImplementedError

    def _line_fault(self, fault: LineFault) -> None:
        """Answer what came instead of a line."""
        self._refuse(fault.name, replies.LINE_FAULTS[fault])

    def _chunk_taken(self, chunk: Chunk) -> None:
        """Answer a chunk."""
        raise NotImplementedError

    def _content_taken(self, answers: Sequence[Reply]) -> None:
        """Answer the end of the content."""
        raise NotImplementedError

    def _take_content(self, incoming: IncomingMessage) -> bool:
        octets = self._input.take_all()
        if not octets:
            return False
        rest, wait = incoming.feed(octets)
        if rest is not None:
            self._incoming, self._in_data = None, False
            self._input.put_back(rest)
            self._decide(incoming.finish(), self._content_taken)
        elif wait is not None:
            self._decide(wait, lambda _: None)
        return True

    def _take_chunk(self, chunk: Chunk) -> bool:
        if not chunk.left:
            self._chunk = None
            self._chunk_taken(chunk)
            return True
        octets = self._input.take(chunk.left)
        chunk.left -= len(octets)
        if octets and self._incoming is not None and chunk.refusal is None:
            _, wait = self._incoming.feed(octets)
            if wait is not None:
                self._decide(wait, lambda _: None)
        return bool(octets)

    # Decisions and replies

    def _refuse(self, command: str, reply: Reply) -> None:
        """Answer a mistake of the client's, and hang up after too many.

        @param command: a word of ours, for the log. The client's own may be a password, or a line of a message.
        """
        events.COMMAND_REFUSED(self._log, peer=str(self.peer), command=command, reply=str(reply))
        self._reply(reply)
        self._errors += 1
        if reply.code == 421:
            self._hang_up()
        elif self._errors >= self.limits.errors:
            self._close(replies.TOO_MANY_ERRORS)

    def _ahead_of_answer(self, verb: str) -> bool:
        """Whether the peer has sent on before it could know the answer to C{verb}; then it is let go.

        A person on this machine who speaks LF may pipe a whole session into netcat.
        """
        if not len(self._input) or self._input.speaks_newlines:
            return False
        events.COMMAND_REFUSED(self._log, peer=str(self.peer), command=verb, reply=str(replies.OUT_OF_STEP))
        self._close(replies.OUT_OF_STEP)
        return True

    def _decide(self, decision: Deferred[Any], done: Callable[[Any], None]) -> None:
        """Hold everything until C{decision} is there, then answer and go on."""
        self._pending = True

        def go_on(result: object) -> None:
            self._pending = False
            if isinstance(result, Failure):  # answering failed: no reply is right any more
                events.ERROR(self._log, what="answering", reason=repr(result.value))
                self._close(replies.BROKEN)
            if self._gone:
                self.released(self)
            self._pump()
            self._wait_on()

        decision.addCallback(done).addErrback(self._reply_to_failure).addBoth(go_on)

    def _reply_to_failure(self, failure: Failure) -> None:
        self._reply(self._reply_for(failure))

    def _reply_for(self, failure: Failure) -> Reply:
        return replies.answer(failure, "deciding on a command", self._log)

    def sendCode(self, code: int, message: bytes = b"") -> None:
        self._reply(Reply.read(code, message.decode("utf-8", "replace")))
        if not self._pumping:
            self._flush()

    def _abandon(self) -> None:
        if self._incoming is not None:
            self._incoming.abandon()
            self._incoming = None
        self._in_data = False
