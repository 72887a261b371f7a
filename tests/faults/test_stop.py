"""A stop ends the process, whatever it waits for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.site import ELSEWHERE, SMALL, Site, build, send, started

pytestmark = pytest.mark.requires("cc")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with started(tmp_path, build(tmp_path)) as site:
        yield site


@pytest.mark.parametrize("signals", [2, pytest.param(1, marks=pytest.mark.torture)])
def test_a_database_on_a_disk_that_hangs_does_not_outlast_a_stop(site: Site, signals: int) -> None:
    codes: list[int] = []

    def hand_in() -> None:
        with suppress(OSError), site.connect() as client:
            codes.append(send(client, SMALL, ELSEWHERE)[0])

    sending = threading.Thread(target=hand_in, daemon=True)
    with site.failing("sync queue.db-wal 0"):
        sending.start()
        site.server.wait_for("recipient_accepted")
        if signals == 2:
            site.server.signal(signal.SIGTERM)
            site.server.wait_for("stopping")
        site.server.stop()
    sending.join(30)
    assert 250 not in codes
