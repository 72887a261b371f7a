"""What a failure decides for recipients that have no reply of their own."""

from __future__ import annotations

import pytest

from mailagent.envelope.reply import Reply
from mailagent.smtp.sending_failed import LoginFailed, NoSession, ProtocolError, SendingFailed, Unreachable


def test_the_servers_reply_is_the_verdict() -> None:
    assert SendingFailed("refused", Reply(554, "5.3.2", "No")).verdict == Reply(554, "5.3.2", "No")


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (SendingFailed("lost"), "451 4.4.2 lost"),
        (Unreachable("no route"), "451 4.4.1 no route"),
        (ProtocolError("nonsense"), "451 4.5.0 nonsense"),
        (ProtocolError("out of place", Reply(250)), "451 4.5.0 out of place"),
    ],
)
def test_without_a_reply_the_verdict_is_that_a_later_try_may_succeed(failure: SendingFailed, verdict: str) -> None:
    assert str(failure.verdict) == verdict


@pytest.mark.parametrize(
    ("failure", "deferral"),
    [
        (LoginFailed("the password is wrong", Reply(535, "5.7.8", "No")), "451 4.7.8 the password is wrong"),
        (NoSession("refused", Reply(521, "", "No mail here")), "451 4.3.0 refused"),
        (NoSession("busy", Reply(450, "4.3.2", "Busy")), "450 4.3.2 Busy"),
        (SendingFailed("lost"), "451 4.4.2 lost"),
    ],
)
def test_what_says_nothing_about_a_message_can_be_told_as_a_deferral(failure: SendingFailed, deferral: str) -> None:
    assert str(failure.deferral) == deferral
