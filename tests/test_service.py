"""The server as a service: start, trouble at start, stop. Signals are tested with a real process (tests/peers)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from threading import Event
from typing import Any

import attrs
import pytest
from twisted.application.service import Application, IServiceCollection
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver

from mailagent.config import Config, Listener
from mailagent.config.values import Endpoint
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable
from mailagent.service import MailAgent, StartError
from mailagent.threads import DaemonThreads
from tests.maildir.support import Events, logged
from tests.memory_server import Connection, MemoryServer

MAILBOX = Mailbox(Address("user1", "hostmeister.de"), "/mail/user1")


class Reactor(MemoryReactorClock):
    """A reactor in memory whose ports may be taken."""

    taken = False

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return super().listenTCP(port, factory, backlog, interface)

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: Queue[Callable[[], Any]] = Queue()

    def callFromThread(self, function: Callable[[], Any]) -> None:
        self.from_threads.put(function)


@attrs.define
class World:
    """A service and what its test sees of it."""

    server: MemoryServer
    reactor: Reactor
    pool: DaemonThreads
    happened: list[Any]

    def service(self, *endpoints: str, prepare: Callable[[], None] | None = None) -> MailAgent:
        listen = tuple(Listener(Endpoint(endpoint)) for endpoint in endpoints or ("tcp:2525:interface=127.0.0.1",))
        config: Config = attrs.evolve(self.server.config, listen=listen)
        return MailAgent(
            config,
            self.server.factory,
            self.pool,
            self.reactor,
            prepare=prepare or (lambda: self.happened.append("prepared")),
            announce=self.happened.append,
            reload=lambda: self.happened.append("reload"),
        )

    def started(self) -> MailAgent:
        """A service that runs."""
        service = self.service()
        service.privilegedStartService()
        service.startService()
        return service

    def in_transaction(self) -> Connection:
        """A client's connection, in the midst of a transaction."""
        connection = self.server.connect()
        connection.greet()
        connection.send(b"MAIL FROM:<a@b>\r\n")
        return connection


@pytest.fixture
def world() -> Iterator[World]:
    handler = signal.getsignal(signal.SIGHUP)
    reactor = Reactor()
    world = World(MemoryServer(), reactor, DaemonThreads("mailstore", 1, reactor), [])
    yield world
    signal.signal(signal.SIGHUP, handler)
    world.pool.stop()


def test_ports_are_bound_before_and_mailboxes_made_after_privileges_are_shed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, _: world.happened.append(number))
    service = world.service("tcp:25", "tcp:2525:interface=127.0.0.1")
    service.privilegedStartService()
    assert [server[0] for server in world.reactor.tcpServers] == [25, 2525]
    assert world.happened == [signal.SIGHUP]
    service.startService()
    assert world.happened.pop() == "prepared"
    for function, args, kwargs in world.reactor.whenRunningHooks:
        function(*args, **kwargs)
    # Whoever reads that we are ready may send a signal.
    assert world.happened[1:3] == [signal.SIGTERM, signal.SIGINT]
    assert len(world.happened[3]) == 2


def test_a_port_that_is_taken_ends_the_start_with_one_line(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.reactor.taken = True
    with pytest.raises(StartError) as caught:
        world.service().privilegedStartService()
    assert caught.value.code == 1
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("mailagent: cannot listen on tcp:2525:interface=127.0.0.1: ")
    assert "Address already in use" in line


@pytest.mark.parametrize("endpoint", ["nonsense:1", "tcp:2525:bogus=1", "systemd:domain=INET:name=smtp"])
def test_an_endpoint_that_is_none_ends_the_start_with_one_line(
    world: World, endpoint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StartError):
        world.service(endpoint).privilegedStartService()
    assert capfd.readouterr().err.count("\n") == 1


def test_a_mailbox_that_cannot_be_made_ends_the_start_with_one_line(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    def prepare() -> None:
        raise MailboxUnwritable(MAILBOX, "/mail/user1: Read-only file system")

    service = world.service(prepare=prepare)
    service.privilegedStartService()
    with pytest.raises(StartError) as caught:
        service.startService()
    assert str(caught.value) == "/mail/user1: Read-only file system"
    assert capfd.readouterr().err == "mailagent: /mail/user1: Read-only file system\n"


def test_a_stop_drains_the_sessions_then_stops_the_threads(world: World) -> None:
    service = world.started()
    connection = world.server.connect()
    stopped = service.stopService()
    assert not stopped.called
    assert b"421 4.3.2" in connection.received()
    connection.finish()
    assert stopped.called
    assert world.pool.stopped


def test_a_stop_waits_for_open_transactions_as_long_as_configured(world: World) -> None:
    service = world.started()
    connection = world.in_transaction()
    stopped = service.stopService()
    world.server.clock.advance(world.server.config.limits.stop_time - 1)
    assert not connection.closed
    world.server.clock.advance(1)
    assert connection.closed
    connection.finish()
    assert stopped.called


def test_a_second_signal_does_not_wait_however_close_it_comes(world: World) -> None:
    service = world.started()
    connection = world.in_transaction()
    service._stop()
    service._stop()
    assert world.reactor.hasStopped
    service.stopService()
    assert connection.closed


@pytest.fixture
def hanging(world: World) -> Iterator[Event]:
    """A server one of whose threads is at work until this is set."""
    service = world.started()
    begun, go_on = Event(), Event()

    def job() -> None:
        begun.set()
        go_on.wait()

    world.pool.call_in_thread(job)
    begun.wait()
    world.happened.append(service)
    yield go_on
    go_on.set()


def test_a_stop_waits_for_what_is_being_written(world: World, hanging: Event) -> None:
    stopped: list[None] = []
    world.happened[-1].stopService().addCallback(stopped.append)
    world.reactor.advance(world.server.config.limits.stop_time - 1)
    assert not stopped
    hanging.set()
    world.reactor.from_threads.get()()
    assert stopped
    assert world.pool.stopped
    assert world.reactor.getDelayedCalls() == []


def test_a_disk_that_hangs_is_given_up_when_the_time_is_over(world: World, hanging: Event) -> None:
    events = Events()
    service = world.happened[-1]
    service._log = events.log
    service.stopService()
    world.reactor.advance(world.server.config.limits.stop_time)
    assert events.named == ["stopping", "error", "stopped"]
    assert events[1]["reason"] == "jobs on the disk that do not end, waited for no more: 1"
    hanging.set()
    world.reactor.from_threads.get()()


def assert_ended_by_a_second_signal(service: MailAgent) -> None:
    service._stop()
    stopped: list[None] = []
    service.stopService().addCallback(stopped.append)
    assert not stopped
    service._stop()
    assert stopped


def test_a_second_signal_gives_up_a_disk_that_hangs_at_once(world: World, hanging: Event) -> None:
    assert_ended_by_a_second_signal(world.happened[-1])


def test_a_queue_that_does_not_end_is_given_up_some_seconds_after_its_time(world: World) -> None:
    events, asked, queue = Events(), list[float](), Deferred[None]()
    service = world.service()

    def end(seconds: float) -> Deferred[None]:
        asked.append(seconds)
        return queue

    service._log, service._end = events.log, end
    service.startService()
    service.stopService()
    assert asked == [world.server.config.limits.stop_time]
    world.reactor.advance(world.server.config.limits.stop_time)
    assert events.named == ["stopping"]
    world.reactor.advance(5)
    assert events.named == ["stopping", "error", "stopped"]
    queue.callback(None)


def test_a_second_signal_gives_up_a_queue_that_does_not_end_at_once(world: World) -> None:
    service = world.service()
    service._end = lambda seconds: Deferred()
    service.startService()
    assert_ended_by_a_second_signal(service)


def test_what_a_daemon_cannot_start_for_is_in_its_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reactor.taken = True
    with open(os.devnull, "w") as null, logged() as events:
        monkeypatch.setattr(sys, "__stderr__", null)
        with pytest.raises(StartError):
            world.service().privilegedStartService()
    assert [event["reason"] for event in events if event.get("event") == "error"] == [
        "cannot listen on tcp:2525:interface=127.0.0.1: Address already in use"
    ]


def test_an_observer_becomes_the_applications(world: World) -> None:
    events = Events()
    service = world.service()
    service._observer = events
    application = Application("mailagent")
    service.setServiceParent(application)
    assert application.getComponent(ILogObserver) is events
    assert list(IServiceCollection(application)) == [service]


def test_a_hang_up_is_a_reload_while_the_service_runs(world: World) -> None:
    service = world.service()
    service._hang_up()
    assert world.happened == []
    service.privilegedStartService()
    service.startService()
    service._hang_up()
    assert world.happened == ["prepared", "reload"]


class Processes:
    """Session processes that are played: they note what they are told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ended: Deferred[None] = Deferred()

    def start(self, ports: Sequence[IListeningPort]) -> None:
        self.told.append(("start", len(ports)))

    def stop(self, seconds: float) -> Deferred[None]:
        self.told.append(("stop", seconds))
        return self.ended

    def hurry(self) -> None:
        self.told.append("hurry")


class Port:
    """A port that can leave its connections to others."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False

    def stopListening(self) -> None:
        pass


def with_processes(world: World, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Any], Any]) -> tuple[MailAgent, Any]:
    service = world.service()
    ports: list[Port] = []
    service._processes = Processes()

    def listen(port: int, factory: Any, *args: Any, **kwargs: Any) -> Port:
        ports.append(Port(wrap(factory)))
        return ports[-1]

    monkeypatch.setattr(world.reactor, "listenTCP", listen)
    return service, ports


def test_session_processes_are_left_the_listeners_and_stopped_before_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, ports = with_processes(world, monkeypatch, lambda factory: factory)
    service.privilegedStartService()
    assert [port.reading for port in ports] == [False]
    service.startService()
    for function, args, kwargs in world.reactor.whenRunningHooks:
        function(*args, **kwargs)
    processes: Any = service._processes
    service._stop()
    stopped = service.stopService()
    service._stop()
    seconds = world.server.config.limits.stop_time
    assert processes.told == [("start", 1), ("stop", seconds), "hurry"]
    assert not stopped.called
    processes.ended.callback(None)
    assert stopped.called


def test_an_endpoint_that_others_could_not_serve_alike_ends_the_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = with_processes(world, monkeypatch, lambda factory: object())
    with pytest.raises(StartError, match="with workers, only on tcp:, unix: and systemd: endpoints"):
        service.privilegedStartService()
