"""A session process as its owner sees it."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailagent.policy.login_limits import LoginLimits
from mailagent.workers.owner import Owner
from mailagent.workers.process import CHANNEL, COUNTS, LISTENERS, Calls, Launch, WorkerProcess
from tests.maildir.support import Events
from tests.memory_server import MemoryQueue, MemoryServer


class Transport:
    pid = 4711
    gone = False

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.reading = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)


class World:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: list[str] = []
        self.events = Events()
        self.clock = Clock()
        limits = LoginLimits(3, 60.0, 1.0, Clock().seconds)
        server = MemoryServer()
        self.owner = Owner(server.mailstore, MemoryQueue(), limits, server.budget)
        calls = Calls(lambda process: None, lambda process, status: self.ended.append(status))
        self.process = WorkerProcess(2, self.owner, self.lines.append, calls, self.clock)
        self.process._log = self.events.log
        self.transport = Transport()
        self.process.makeConnection(self.transport)


@pytest.fixture
def world() -> World:
    return World()


def test_only_whole_lines_go_into_the_log(world: World) -> None:
    world.process.outReceived(b"one\ntw")
    world.process.outReceived("o\ngrü".encode()[:-1])
    assert world.lines == ["one\n", "two\n"]
    world.process.outReceived("ü".encode()[1:] + b"n\n")
    assert world.lines[2:] == ["grün\n"]


def test_lines_that_come_one_by_one_are_read_together(world: World) -> None:
    world.process.outReceived(b"one\n")
    assert not world.transport.reading
    world.clock.advance(1)
    assert world.transport.reading
    world.process.outReceived(b"x" * 8191 + b"\n")
    assert world.transport.reading, "there is more"


def test_a_line_without_end_is_not_kept_without_end(world: World) -> None:
    for _ in range(20):
        world.process.outReceived(b"x" * 100_000)
    assert [len(line) > 1_000_000 for line in world.lines] == [True]


def test_what_a_killed_process_had_begun_to_write_is_a_line_of_its_own(world: World) -> None:
    world.process.outReceived(b"torn")
    world.process.processEnded(Failure(ProcessTerminated(signal=9)))
    assert world.lines == ["torn\n"]
    assert world.ended == ["signal 9"]


def test_a_log_that_takes_nothing_hides_no_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lines: str) -> None:
        raise ValueError(lines)

    monkeypatch.setattr(world.process, "_write", refuse)
    world.owner._coming[1] = ([], MemoryServer().mailstore.stage(None))
    world.process.outReceived(b"torn")
    with pytest.raises(ValueError, match="torn"):
        world.process.processEnded(Failure(ProcessTerminated(signal=9)))
    assert world.ended == ["signal 9"]
    assert world.owner._coming == {}


@pytest.mark.parametrize(
    ("reason", "status"), [(ProcessDone(0), "exit status 0"), (ProcessTerminated(3), "exit status 3")]
)
def test_how_it_ended_is_told(world: World, reason: Exception, status: str) -> None:
    world.process.processEnded(Failure(reason))
    assert world.ended == [status]


def test_trouble_on_standard_error_is_logged_line_by_line(world: World) -> None:
    world.process.errReceived(b"Traceback\nValueError\n")
    assert [(event["what"], event["reason"]) for event in world.events] == [
        ("worker 2", "Traceback"),
        ("worker 2", "ValueError"),
    ]


def test_it_may_be_killed_though_it_is_gone(world: World) -> None:
    world.process.kill()
    world.transport.gone = True
    world.process.kill()
    assert world.transport.signals == ["KILL"]


class Reactor:
    """Notes how a process is started."""

    def __init__(self) -> None:
        self.spawned: list[Any] = []
        self.adopted = 0
        self.full = False
        self.transport = Transport()

    def spawnProcess(self, process: Any, executable: str, args: Any, env: Any, childFDs: Any) -> None:
        process.makeConnection(self.transport)
        self.spawned.append((args, env, childFDs))

    def adoptStreamConnection(self, descriptor: int, family: Any, factory: Any) -> None:
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        self.adopted += 1


def test_it_inherits_the_channel_the_counts_and_the_listeners_and_nothing_of_systemds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    reactor = Reactor()
    Launch(reactor, lambda: world.owner, 50, "json", world.lines.append)(1, [60, 70], world.process._calls)
    ((args, env, inherited),) = reactor.spawned
    assert args == [sys.executable, "-P", "-m", "mailagent.workers", "1", "json", "2"]
    assert not {"LISTEN_FDS", "NOTIFY_SOCKET"} & set(env)
    assert os.path.dirname(os.path.dirname(sys.modules["mailagent"].__file__ or "")) in env["PYTHONPATH"].split(":")
    assert set(inherited) == {0, 1, 2, CHANNEL, COUNTS, LISTENERS, LISTENERS + 1}
    assert [inherited[number] for number in (COUNTS, LISTENERS, LISTENERS + 1)] == [50, 60, 70]
    assert reactor.adopted == 1


def test_one_that_cannot_be_talked_to_is_killed(world: World) -> None:
    reactor = Reactor()
    reactor.full = True
    with pytest.raises(OSError, match="Too many"):
        Launch(reactor, lambda: world.owner, 50, "json", world.lines.append)(1, [60], world.process._calls)
    assert reactor.transport.signals == ["KILL"]
