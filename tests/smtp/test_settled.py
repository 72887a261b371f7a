"""Waiting for several results."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailagent.smtp.settled import settled


@pytest.mark.parametrize("number", [0, 1, 3])
def test_all_are_waited_for_and_no_failure_is_left_over(number: int) -> None:
    waited_for: list[Deferred[Any]] = [Deferred() for _ in range(number)]
    found: list[Any] = []
    settled(waited_for).addCallback(found.extend)
    error = Failure(ValueError("no"))
    for each in waited_for[1:]:
        each.callback("yes")
        assert not found
    for each in waited_for[:1]:
        each.errback(error)
    assert found == [(False, error), *[(True, "yes")] * (number - 1)][:number]
