"""A session process on its own: told to begin, and to end."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mailagent import state
from mailagent.config import Config
from mailagent.config.values import ConfiguredPath
from mailagent.smtp.tls import CertificatePlan, read
from mailagent.workers.channel import Channel, Refused
from mailagent.workers.counts import Counts
from mailagent.workers.worker import ALARM, Worker
from tests.memory_server import make_config
from tests.smtp.certificates import names, shake_hands, write_pair
from tests.workers.support import Line


class World:
    """A worker without listeners, and its owner's end of the channel."""

    def __init__(self, directory: Path, listeners: Sequence[int] = ()) -> None:
        state.make_directory(str(directory))
        self.config: Config = attrs.evolve(make_config(), state=ConfiguredPath(str(directory)), listen=())
        self.files = write_pair(directory, "mx.example")
        self.certificates = read(CertificatePlan(self.files))
        self.reactor: Any = MemoryReactorClock()
        self.silenced = False
        self.beats = 0
        self.alarms: list[float] = []
        self.worker = Worker(1, self.reactor, Counts.make(2), listeners, self._silence, self.alarms.append)
        self.owner = Channel({"beat": self._beat})
        self.line = Line(self.owner, self.worker.channel)

    def _silence(self) -> None:
        self.silenced = True

    def _beat(self, octets: bytes) -> None:
        self.beats += 1

    def start(self) -> None:
        started: list[object] = []
        self.owner.ask("start", pickle.dumps((self.config, self.certificates))).addBoth(started.append)
        assert started == [None]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


def test_it_tells_every_second_that_it_is_alive(world: World) -> None:
    assert world.beats == 0
    world.start()
    world.reactor.pump([1.0] * 5)
    assert world.beats == 6


def test_its_alarm_is_put_off_with_every_beat(world: World) -> None:
    assert world.alarms == []
    world.start()
    world.reactor.pump([1.0] * 5)
    assert world.alarms == [ALARM] * 7, "at the start, and with every beat"


def test_told_to_drain_it_ends(world: World) -> None:
    world.start()
    world.owner.tell("drain", seconds=30.0)
    assert world.reactor.hasStopped
    assert not world.silenced


def test_it_ends_with_its_owner_and_writes_nothing_to_nobody(world: World) -> None:
    world.start()
    world.line.cut()
    assert world.silenced
    assert world.reactor.hasStopped


def test_it_ends_though_it_was_never_told_to_begin(world: World) -> None:
    world.owner.tell("drain", seconds=30.0)
    assert world.reactor.hasStopped


def test_it_begins_with_the_certificates_it_is_given_whatever_has_become_of_their_files(world: World) -> None:
    for path in (world.files.certificate, world.files.key):
        Path(path).unlink()
    world.start()
    assert world.worker._serving is not None
    assert names(shake_hands(world.worker._serving.parts.tls).certificate) == ["mx.example"]


@pytest.mark.parametrize("certificates", [None, {"": "none"}], ids=["no configuration", "no certificate"])
def test_a_start_that_fails_is_told_and_opens_nothing(tmp_path: Path, certificates: Any) -> None:
    world = World(tmp_path / "state", [99])
    config = attrs.evolve(world.config, listen=make_config().listen[:1])
    octets = b"none" if certificates is None else pickle.dumps((config, certificates))
    SynchronousTestCase().failureResultOf(world.owner.ask("start", octets), Refused)
    assert world.worker._ports == []
    assert world.reactor.getReaders() == []
    assert world.beats == 0
