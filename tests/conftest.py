"""What all tests share: C{@pytest.mark.requires("swaks", ...)} for those that run real programs."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests import programs
from tests.database.kinds import database, kind, make_database, postgres, template

__all__ = ["database", "kind", "make_database", "postgres", "template"]

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(*names): skip (or fail, in CI) where one of these programs is missing")
    config.addinivalue_line("markers", "torture: takes long, so that only `make torture` runs it")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        for name in marker.args:
            if programs.find(name) is None:
                programs.absent(name)
