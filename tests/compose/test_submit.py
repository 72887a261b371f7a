"""Sessions with the server, begun and ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest
from twisted.internet.defer import fail, succeed

from mailagent.compose.submit import Submission
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply
from mailagent.smtp.sender import Sender
from mailagent.smtp.sending_failed import SendingFailed, Unreachable
from tests.deferreds import result

ANN = Address("ann", "example.org")
ENVELOPE = Envelope(None, (ANN,))
OUTCOMES = (Outcome(ANN, Reply(250)),)


class Session:
    """What is asked of a session."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.blocks: list[bytes] = []
        self.failure = failure

    async def check(self, envelope: Envelope) -> tuple[Outcome, ...]:
        return self._outcomes("check")

    async def submit(self, envelope: Envelope, content: Iterable[bytes]) -> tuple[Outcome, ...]:
        self.blocks = list(content)
        return self._outcomes("submit")

    async def quit(self) -> None:
        self.asked.append("quit")

    def _outcomes(self, asked: str) -> tuple[Outcome, ...]:
        self.asked.append(asked)
        if self.failure is not None:
            raise self.failure
        return OUTCOMES


def through(session: Session) -> Submission:
    return Submission(lambda: succeed(cast(Sender, session)))


def test_a_check_is_a_session_of_its_own() -> None:
    session = Session()
    assert result(through(session).check(ENVELOPE)) == OUTCOMES
    assert session.asked == ["check", "quit"]


def test_a_message_is_handed_over_in_blocks() -> None:
    session, message = Session(), [b"x", b"y"]
    assert result(through(session).submit(ENVELOPE, message)) == OUTCOMES
    assert session.blocks == message
    assert session.asked == ["submit", "quit"]


def test_a_check_that_failed_is_left_in_good_order() -> None:
    session = Session(SendingFailed("no"))
    with pytest.raises(SendingFailed):
        result(through(session).check(ENVELOPE))
    assert session.asked == ["check", "quit"]


def test_a_submission_that_failed_is_left_in_good_order() -> None:
    session = Session(SendingFailed("no"))
    with pytest.raises(SendingFailed):
        result(through(session).submit(ENVELOPE, [b"x"]))
    assert session.asked == ["submit", "quit"]


def test_no_session_is_the_same_failure() -> None:
    with pytest.raises(Unreachable):
        result(Submission(lambda: fail(Unreachable("no"))).check(ENVELOPE))
