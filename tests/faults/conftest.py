"""One server for all tests of a module: each leaves it well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.site import ELSEWHERE, SMALL, USER1, USER2, Site, build, send, started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For tests that ask for C{cc}."""
    directory = tmp_path_factory.mktemp("site")
    with started(directory, build(directory)) as site:
        yield site


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """A server whose mailboxes are empty. After the test it takes mail as before, without a restart."""
    for user in ("user1", "user2"):
        for path in (running.server.mailboxes / user / "new").iterdir():
            path.unlink()
    yield running
    with running.connect() as client:
        assert send(client, SMALL, USER1, USER2, ELSEWHERE) == (250, "2.0.0")
    assert running.debris() == []
