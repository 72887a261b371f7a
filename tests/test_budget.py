"""The memory that sessions share."""

from __future__ import annotations

import pytest

from mailagent.budget import Budget


@pytest.mark.parametrize(("shares", "most"), [(1, 100), (3, 33), (1000, 0)])
def test_it_is_exhausted_beyond_its_share_of_the_limit(shares: int, most: int) -> None:
    budget = Budget(100, shares=shares)
    budget.change(most)
    assert not budget.exhausted
    budget.change(1)
    assert budget.exhausted
    budget.change(-1)
    assert not budget.exhausted
