"""What the owner of the queue and a session process tell and ask each other, over a socket that only they have.

  1. A frame is a length (32 bits), a line of JSON, and octets. Three kinds: a word that is told, a word that is asked
     and so has a number, and the answer with that number.
  2. Words are functions: C{function(octets, **facts)}, where C{facts} are what JSON can hold. What one returns, now or
     by a C{Deferred}, is the answer.
  3. A failure that is part of the contract keeps its kind (L{FAILURES}); any other is L{Refused} to who asked.
  4. When the other side is gone, everything that was asked fails with C{ConnectionLost}.

Who asks waits for the answer before it sends more of the same, so what is under way is bounded by who asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.interfaces import StorageFailed, StorageFull

#: Octets of a message's content that go into one frame.
PIECE = 65536
#: What may fail for a reason that who asked goes by.
FAILURES: Mapping[str, type[Exception]] = {kind.__name__: kind for kind in (StorageFull, StorageFailed)}

Words = Mapping[str, Callable[..., Any]]


class Refused(Exception):
    """The other side could not do what it was asked; the text says why."""


class Channel(Int32StringReceiver):
    """One end. See the module.

    @param words: what may be told and asked here.
    @param lost: called when the other side is gone.
    """

    #: Octets of a frame: a configuration with very many users, or a message with very many recipients.
    MAX_LENGTH = 64 * 1024**2
    noisy = False
    _log = Logger(namespace="mailagent.workers")

    def __init__(self, words: Words, lost: Callable[[], None] = lambda: None) -> None:
        self._words = words
        self._lost = lost
        self._numbers = count(1)
        self._asked: dict[int, Deferred[Any]] = {}
        self._open = True

    def tell(self, word: str, octets: bytes = b"", **facts: object) -> None:
        """Say something that needs no answer."""
        self._send({"word": word, "facts": facts}, octets)

    def ask(self, word: str, octets: bytes = b"", **facts: object) -> Deferred[Any]:
        """Ask something.

        @return: fires with the answer, or fails with one of L{FAILURES}, L{Refused} or C{ConnectionLost}.
        """
        if not self._open:
            return fail(ConnectionLost("the other process is gone"))
        number = next(self._numbers)
        answer = self._asked[number] = Deferred()
        self._send({"word": word, "number": number, "facts": facts}, octets)
        return answer

    def close(self) -> None:
        """Be gone."""
        if self._open and self.transport is not None:
            self.transport.loseConnection()

    def _send(self, head: dict[str, Any], octets: bytes = b"") -> None:
        if self._open and self.transport is not None:
            self.sendString(json.dumps(head).encode("ascii") + b"\n" + octets)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        """Take one frame. One that cannot be read ends the channel: nothing after it could be trusted."""
        line, _, octets = string.partition(b"\n")
        try:
            head = json.loads(line)
            self._take(head, octets)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._give_up(repr(error))

    def _give_up(self, reason: str) -> None:
        events.ERROR(self._log, what="reading from another process of ours", reason=reason)
        self.close()

    def _take(self, head: Any, octets: bytes) -> None:
        if "word" not in head:
            answer = self._asked.pop(head["number"])
            kind = head.get("failure")
            if kind is None:
                answer.callback(head["answer"])
            else:
                answer.errback(FAILURES.get(kind, Refused)(str(head["reason"])))
            return
        done = maybeDeferred(self._words[head["word"]], octets, **head["facts"])
        if (number := head.get("number")) is not None:
            done.addCallback(lambda answer: self._send({"number": number, "answer": answer}))
            done.addErrback(self._send_failure, number)
        done.addErrback(self._told_in_vain, head["word"])

    def _send_failure(self, failure: Failure, number: int) -> None:
        error = failure.value
        reason = str(error) if isinstance(error, tuple(FAILURES.values())) else repr(error)
        kind = next((name for name, kind in FAILURES.items() if isinstance(error, kind)), "Refused")
        self._send({"number": number, "failure": kind, "reason": reason})

    def _told_in_vain(self, failure: Failure, word: str) -> None:
        events.ERROR(self._log, what=f"taking the word {word} of another process of ours", reason=repr(failure.value))

    def lengthLimitExceeded(self, length: int) -> None:
        """A frame that long is none of ours."""
        self._give_up(f"a frame of {length} octets, where {self.MAX_LENGTH} are the most")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing asked will be answered."""
        self._open = False
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer.errback(ConnectionLost("the other process is gone"))
        self._lost()
