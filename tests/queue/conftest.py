"""A database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.queue.store import Store
from tests.database.support import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path) as database:
        yield database


@pytest.fixture
def store(database: Database) -> Store:
    """The store of a node that has started."""
    store = Store("here", "mx.example.org")
    database.write(store.start)
    return store
