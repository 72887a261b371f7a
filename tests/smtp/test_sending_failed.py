"""What a failure decides for recipients that have no reply of their own."""

from __future__ import annotations

import pytest

from mailagent.envelope.reply import Reply
from mailagent.smtp.sending_failed import ProtocolError, SendingFailed, Unreachable


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
