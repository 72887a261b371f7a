"""What is missing for a database is told by what to install."""

from __future__ import annotations

import pytest

from mailagent.config import driver


@pytest.mark.parametrize(
    ("url", "told"), [("sqlite:///queue.db", False), ("postgresql+psycopg://db/mail", True), ("mysql://db/mail", False)]
)
def test_only_postgresql_needs_a_driver(url: str, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert driver.missing_driver(url) is None
    monkeypatch.setattr(driver, "find_spec", lambda name: None)
    assert bool(driver.missing_driver(url)) is told
