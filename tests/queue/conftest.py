"""A store for each test, on its L{tests.database.kinds.database}."""

from __future__ import annotations

import pytest

from mailagent.queue.store import Store
from tests.database.support import Database


@pytest.fixture
def store(database: Database) -> Store:
    """The store of a node that has started."""
    store = Store("here", "mx.example.org")
    database.write(store.start)
    return store
