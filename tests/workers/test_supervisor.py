"""Who looks after the session processes: replacement, watchdog, reload, stop. Processes are played."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailagent.config import Config, ConfigError
from mailagent.config.values import Workers
from mailagent.workers.channel import Channel
from mailagent.workers.counts import Counts
from mailagent.workers.process import Calls
from mailagent.workers.supervisor import FIRST_SILENCE, LONGEST_PAUSE, SILENCE, STEADY, Supervisor
from tests.maildir.support import Events
from tests.memory_server import make_config
from tests.workers.support import Line


class Process:
    """A process that is played: it notes what it is told, and ends when it is killed."""

    def __init__(self, number: int, calls: Calls) -> None:
        self.number = number
        self.pid = 1000 + number
        self.calls = calls
        self.channel = Channel({})
        self.told: list[str] = []
        self.config: Config | None = None
        self.certificates: object = None
        self.refuses = False
        self.answers = True
        self.immortal = False
        words = {word: self._note(word) for word in ("put_in_place", "drain", "hurry")}
        self._line = Line(self.channel, Channel({**words, "start": self._start, "make_ready": self._take}))

    def _note(self, word: str) -> Any:
        return lambda octets, **facts: self.told.append(word)

    def _start(self, octets: bytes) -> Deferred[None] | None:
        config, self.certificates = pickle.loads(octets)
        self._take(pickle.dumps(config))
        return None if self.answers else Deferred()

    def _take(self, octets: bytes) -> None:
        if self.refuses:
            raise ValueError("cannot")
        self.config = pickle.loads(octets)

    def beat(self) -> None:
        self.calls.beat(self)  # type: ignore[arg-type]

    def kill(self) -> None:
        if not self.immortal:
            self.end("signal 9")

    def cut(self) -> None:
        self._line.cut()

    def end(self, status: str = "exit status 0") -> None:
        self.cut()
        self.calls.ended(self, status)  # type: ignore[arg-type]


@attrs.define
class Port:
    number: int

    def fileno(self) -> int:
        return self.number


class World:
    """A supervisor of two."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events = Events()
        self.counts = Counts.make(3)
        self.started: list[Process] = []
        self.listeners: Sequence[int] = ()
        self.fails = False
        self.answers = True
        self.config: Config = attrs.evolve(make_config(), workers=Workers(2))
        self.in_use = "the first certificates"
        self.looks = 0
        self.supervisor = Supervisor(self.config, self.clock, self.launch, self.counts, self.certificates)
        self.supervisor._log = self.events.log
        self.supervisor.start([Port(7), Port(9)])  # type: ignore[list-item]

    def certificates(self) -> Any:
        self.looks += 1
        return self.in_use

    def launch(self, number: int, listeners: Sequence[int], calls: Calls) -> Any:
        if self.fails:
            raise OSError(11, "Resource temporarily unavailable")
        self.listeners = listeners
        process = Process(number, calls)
        process.answers = self.answers
        self.started.append(process)
        return process

    @property
    def numbers(self) -> list[int]:
        """The workers' numbers in the order in which they were started."""
        return [process.number for process in self.started]

    def pass_time(self, seconds: int, *beating: Process) -> None:
        for _ in range(seconds):
            for process in beating:
                process.beat()
            self.clock.advance(1)


@pytest.fixture
def world() -> World:
    return World()


def test_each_place_is_taken_with_the_listeners_and_the_configuration(world: World) -> None:
    assert world.numbers == [1, 2]
    assert world.listeners == [7, 9]
    found = world.started[0].config
    assert found is not None
    assert found == world.config
    assert world.events.named == ["worker_started"] * 2


def test_one_that_ends_is_replaced_and_its_sessions_are_forgotten(world: World) -> None:
    world.counts.add(2, (0,), 5)
    world.started[1].end("signal 11")
    assert world.counts.sum(0) == 0
    world.clock.advance(0)
    assert world.numbers == [1, 2, 2]
    assert world.events[2]["status"] == "signal 11"


def test_a_successor_gets_the_certificates_that_are_in_use_then(world: World) -> None:
    world.in_use = "those of later"
    world.started[0].end()
    world.clock.advance(0)
    assert [process.certificates for process in world.started] == 2 * ["the first certificates"] + ["those of later"]


def test_new_certificates_are_looked_for_all_the_time_lest_a_successor_gets_old_ones(world: World) -> None:
    before = world.looks
    world.pass_time(5, *world.started)
    assert world.looks == before + 5


def test_one_that_ends_again_and_again_is_waited_with_longer_and_longer(world: World) -> None:
    pauses = []
    for _ in range(9):
        world.started[-1].end("exit status 1")
        begun = world.clock.seconds()
        before = len(world.started)
        while len(world.started) == before:
            world.started[0].beat()
            (due, *_) = sorted(call.getTime() for call in world.clock.getDelayedCalls())
            world.clock.advance(due - world.clock.seconds())
        pauses.append(world.clock.seconds() - begun)
    assert pauses == [0, 1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    world.pass_time(int(STEADY), *world.started)
    world.started[-1].end("exit status 1")
    world.clock.advance(0)
    assert world.numbers == [1] + 11 * [2]


def test_one_that_cannot_be_started_is_tried_again(world: World) -> None:
    world.fails = True
    world.started[0].end()
    world.clock.advance(0)
    assert world.events.named[-1] == "error"
    world.fails = False
    world.clock.advance(1)
    assert world.numbers == [1, 2, 1]


def test_one_that_was_never_there_is_not_taken_for_its_successor(world: World) -> None:
    before = Process(1, world.started[0].calls)
    before.end("signal 9")
    world.started[0].end()
    before.end("signal 9")
    world.clock.advance(0)
    world.counts.add(1, (0,), 5)
    before.end("signal 9")
    assert world.numbers == [1, 2, 1]
    assert world.counts.sum(0) == 5
    assert world.events.named.count("worker_ended") == 1
    world.pass_time(3, *world.started)
    for _ in range(SILENCE):
        before.beat()
        world.pass_time(1, world.started[1])
    assert world.events.named.count("worker_hung") == 1


def test_one_that_is_silent_is_killed_and_replaced_and_the_other_is_not(world: World) -> None:
    world.pass_time(3, *world.started)
    world.pass_time(SILENCE - 2, world.started[0])
    assert "worker_hung" not in world.events.named
    world.pass_time(2, world.started[0])
    assert world.events.named[2:] == ["worker_hung", "worker_ended", "worker_started"]
    assert world.numbers == [1, 2, 2]


def test_one_that_begins_has_more_time(world: World) -> None:
    world.pass_time(FIRST_SILENCE - 1, world.started[0])
    assert world.numbers == [1, 2]
    world.pass_time(2, world.started[0])
    assert world.numbers == [1, 2, 2]


def test_a_machine_that_was_suspended_is_nobodys_silence(world: World) -> None:
    world.pass_time(1, *world.started)
    world.clock.advance(100_000)
    world.pass_time(3, *world.started)
    assert world.numbers == [1, 2]


def agree(world: World, config: Config) -> list[Any]:
    results: list[Any] = []
    agreed: Deferred[Any] = world.supervisor.agree(config)
    agreed.addBoth(results.append)
    return results


def changed(world: World) -> Config:
    return attrs.evolve(world.config, hostname=type(world.config.hostname)("changed.example"))


def test_a_changed_configuration_is_put_in_place_when_all_are_ready(world: World) -> None:
    (put_in_place,) = agree(world, changed(world))
    assert [process.told for process in world.started] == [[], []]
    placed = put_in_place()
    assert placed.called
    assert [process.told for process in world.started] == [["put_in_place"]] * 2
    world.started[0].end()
    world.clock.advance(0)
    successor = world.started[-1].config
    assert successor is not None
    assert successor.hostname == "changed.example"


def test_a_configuration_that_one_refuses_is_put_in_place_by_none(world: World) -> None:
    world.started[1].refuses = True
    (failure,) = agree(world, changed(world))
    assert isinstance(failure.value, ConfigError)
    assert "worker 2" in str(failure.value)
    assert [process.told for process in world.started] == [[], []]


def test_one_that_begins_between_takes_the_changed_configuration_up_too(world: World) -> None:
    (put_in_place,) = agree(world, changed(world))
    world.started[1].end()
    world.clock.advance(0)
    put_in_place()
    late = world.started[-1]
    assert late.config is not None
    assert (late.config.hostname, late.told) == ("changed.example", ["put_in_place"])


def stop(world: World) -> list[None]:
    stopped: list[None] = []
    world.supervisor.stop(30.0).addCallback(stopped.append)
    return stopped


def test_a_stop_waits_for_all_and_replaces_nobody(world: World) -> None:
    stopped = stop(world)
    assert [process.told for process in world.started] == [["drain"]] * 2
    world.started[0].end()
    assert not stopped
    world.started[1].end()
    assert stopped
    assert world.clock.getDelayedCalls() == []
    assert world.numbers == [1, 2]


def test_who_is_stopped_before_it_could_say_that_it_serves_ends_in_its_own_time(world: World) -> None:
    world.answers = False
    world.started[0].end()
    world.clock.advance(0)
    stopped = stop(world)
    for process in world.started[1:]:
        process.cut()  # its answer was not out
        process.end()
    assert stopped
    assert world.events.named.count("worker_ended") == 1
    assert "error" not in world.events.named


def test_who_does_not_end_in_time_is_killed(world: World) -> None:
    stopped = stop(world)
    world.clock.advance(30)
    assert not stopped
    world.clock.advance(5)
    assert stopped
    assert world.events.named[2:] == ["worker_ended"] * 2


def test_who_cannot_even_be_killed_is_waited_for_no_more(world: World) -> None:
    stopped = stop(world)
    world.started[1].immortal = True
    world.clock.advance(33)
    assert not stopped
    world.clock.advance(3)
    assert stopped
    assert world.events.named[2:] == ["worker_ended", "error"]
    world.started[1].end("signal 9")
    assert world.clock.getDelayedCalls() == []


def test_a_hurry_is_passed_on_and_short(world: World) -> None:
    stopped = stop(world)
    world.supervisor.hurry()
    assert [process.told for process in world.started] == [["drain", "hurry"]] * 2
    world.clock.advance(5)
    assert stopped


def test_who_hurries_again_and_again_does_not_put_the_end_off(world: World) -> None:
    for process in world.started:
        process.immortal = True
    stopped = stop(world)
    for _ in range(6):
        assert not stopped
        world.supervisor.hurry()
        world.clock.advance(1)
    assert stopped


def test_a_stop_cancels_what_was_to_begin(world: World) -> None:
    world.started[0].end()
    world.started[1].end()
    assert stop(world)
    world.clock.advance(100)
    assert world.numbers == [1, 2]
