"""The socket and the drop of a running server."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from mailagent.local_door import INTERVAL, LocalDoor, user_name
from tests.maildir.support import Events


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    events = Events()
    monkeypatch.setattr(LocalDoor, "_log", events.log)
    return events


def test_it_listens_for_everybody_where_a_dead_servers_socket_was(tmp_path: Path, events: Events) -> None:
    (tmp_path / "submit.sock").write_text("")
    reactor = MemoryReactorClock()
    LocalDoor(reactor, str(tmp_path), Factory()).open()
    ((path, _, _, mode, _),) = reactor.unixServers
    assert (path, mode) == (str(tmp_path / "submit.sock"), 0o666)
    assert not (tmp_path / "submit.sock").exists()
    assert events == []


def test_the_drop_is_made_and_looked_into_again_and_again_until_the_end(tmp_path: Path, events: Events) -> None:
    looks: list[float] = []
    reactor = MemoryReactorClock()

    def look() -> Deferred[None]:
        looks.append(reactor.seconds())
        return succeed(None) if len(looks) != 2 else fail(ZeroDivisionError())

    door = LocalDoor(reactor, str(tmp_path), Factory(), look)
    door.open()
    assert stat.S_IMODE((tmp_path / "drop").stat().st_mode) == 0o1733
    reactor.pump([INTERVAL] * 2)
    assert looks == [0, INTERVAL, 2 * INTERVAL]
    assert events.named == ["error"]
    door.close()
    reactor.advance(INTERVAL)
    assert len(looks) == 3


def test_without_a_queue_there_is_no_drop(tmp_path: Path, events: Events) -> None:
    LocalDoor(MemoryReactorClock(), str(tmp_path), Factory()).open()
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_had_is_logged_and_ends_nothing(tmp_path: Path, events: Events) -> None:
    (tmp_path / "submit.sock").mkdir()
    (tmp_path / "drop").write_text("")
    LocalDoor(MemoryReactorClock(), str(tmp_path), Factory(), lambda: succeed(None)).open()
    assert events.named == ["error", "error"]


def test_a_users_name_is_the_systems_or_the_number() -> None:
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "3999999999"
