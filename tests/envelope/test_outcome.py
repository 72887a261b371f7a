"""What became of one recipient: exactly one of three."""

from __future__ import annotations

import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply


@pytest.mark.parametrize(
    ("code", "state"), [(250, "delivered"), (251, "delivered"), (421, "deferred"), (452, "deferred"), (550, "failed")]
)
def test_an_outcome_is_delivered_deferred_or_failed_by_its_reply(code: int, state: str) -> None:
    outcome = Outcome(Address("ann", "example.org"), Reply(code))
    assert [name for name in ("delivered", "deferred", "failed") if getattr(outcome, name)] == [state]
