"""The exit status."""

from __future__ import annotations

import os

import pytest

from mailagent.compose import exit_status
from mailagent.envelope.address import Address
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply
from mailagent.smtp.sending_failed import LoginFailed, NotSecure, ProtocolError, SendingFailed, Unreachable


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        (["250 2.0.0 OK"], 0),
        (["250 2.0.0 OK", "250 2.0.0 OK"], 0),
        (["250 2.0.0 OK", "550 5.1.1 No"], 3),
        (["451 4.3.0 No", "250 2.0.0 OK"], 3),
        (["550 5.1.1 No"], os.EX_NOUSER),
        (["550 No", "553 No"], os.EX_NOUSER),
        (["550 5.1.1 No", "550 5.7.1 No"], os.EX_UNAVAILABLE),
        (["554 5.6.0 No"], os.EX_UNAVAILABLE),
        (["451 4.3.0 No"], os.EX_TEMPFAIL),
        (["550 5.1.1 No", "451 4.3.0 No"], os.EX_TEMPFAIL),
    ],
)
def test_the_outcomes_make_the_status(replies: list[str], status: int) -> None:
    outcomes = [Outcome(Address("ann", "example.org"), Reply.read(int(reply[:3]), reply[4:])) for reply in replies]
    assert exit_status.of_outcomes(outcomes) == status


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Unreachable("no"), os.EX_UNAVAILABLE),
        (ProtocolError("no"), os.EX_PROTOCOL),
        (SendingFailed("lost"), os.EX_TEMPFAIL),
        (NotSecure("no TLS"), os.EX_PROTOCOL),
        (NotSecure("not now", Reply(454)), os.EX_TEMPFAIL),
        (LoginFailed("wrong", Reply(535)), os.EX_NOPERM),
        (LoginFailed("not now", Reply(454)), os.EX_TEMPFAIL),
        (LoginFailed("no mechanism"), os.EX_NOPERM),
        (SendingFailed("busy", Reply(421)), os.EX_TEMPFAIL),
        (SendingFailed("go away", Reply(554)), os.EX_UNAVAILABLE),
    ],
)
def test_a_broken_session_makes_the_status(failure: SendingFailed, status: int) -> None:
    assert exit_status.of_failure(failure) == status
