"""Reading replies (RFC 5321 section 4.2) out of octets, wherever the chunks are cut. No I/O.

Guarantees: at most L{MAX_LINE} octets are kept of an unfinished line and L{MAX_REPLY} of an unfinished reply,
whatever the server sends. What is no reply raises L{MalformedReply} as soon as it can be told, and then the
server's words have lost their meaning: the connection is of no more use.
"""

from __future__ import annotations

import re

import attrs

from mailagent.envelope.reply import Reply

#: Octets. RFC 5321 section 4.5.3.1.5 allows 512 and asks to take more where possible.
MAX_LINE = 4096
MAX_REPLY = 65536

_LINE = re.compile(rb"(?P<code>[2-5][0-9][0-9])(?:(?P<separator>[ -])(?P<text>[^\r\n]*))?\Z")


class MalformedReply(ValueError):
    """What the server sent is not a reply; the text says how.

    @ivar before: the replies that were complete before it, in the same octets.
    """

    before: tuple[Reply, ...] = ()


@attrs.define
class ReplyReader:
    """Turns received octets into replies."""

    _partial: bytes = attrs.field(default=b"", init=False)
    _lines: list[bytes] = attrs.field(factory=list, init=False)
    _code: bytes = attrs.field(default=b"", init=False)
    _size: int = attrs.field(default=0, init=False)

    @property
    def amid_reply(self) -> bool:
        """Whether there is something that no reply returned so far has used up."""
        return bool(self._partial or self._lines)

    def receive(self, octets: bytes) -> list[Reply]:
        """The replies that C{octets} complete.

        @raise MalformedReply: a line that is none of a reply's (a bare CR or LF included), lines of one reply
            with different codes, or more octets than the limits allow.
        """
        *lines, self._partial = (self._partial + octets).split(b"\r\n")
        replies: list[Reply] = []
        try:
            for line in lines:
                if (reply := self._take(line)) is not None:
                    replies.append(reply)
            self._check_partial()
        except MalformedReply as error:
            error.before = tuple(replies)
            raise
        return replies

    def _check_partial(self) -> None:
        if len(self._partial) > MAX_LINE:
            raise MalformedReply(f"a line of more than {MAX_LINE} octets")
        if b"\n" in self._partial or b"\r" in self._partial[:-1]:
            raise MalformedReply("a line that does not end in CRLF")

    def _take(self, line: bytes) -> Reply | None:
        self._size += len(line)
        if len(line) > MAX_LINE or self._size > MAX_REPLY:
            raise MalformedReply("a reply without end")
        found = _LINE.match(line)
        if found is None:
            raise MalformedReply(f"{line[:80]!r} is no reply")
        code = found["code"]
        if self._lines and code != self._code:
            raise MalformedReply(f"code {code.decode()} in the middle of a {self._code.decode()} reply")
        self._code = code
        self._lines.append(found["text"] or b"")
        return None if found["separator"] == b"-" else self._complete()

    def _complete(self) -> Reply:
        text = b"\n".join(self._lines).decode("utf-8", "replace")
        self._lines, self._size = [], 0
        return Reply.read(int(self._code), text)
