"""A session process's queue and login limits, which are the owner's."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailagent.interfaces import StorageFailed, StorageFull
from mailagent.policy.login_limits import ACCOUNT_LIMITED, LoginLimits
from mailagent.workers.channel import PIECE, Channel
from mailagent.workers.owner import Owner
from mailagent.workers.remote import RemoteLoginLimits, RemoteQueue, pieces
from tests.deferreds import result
from tests.memory_server import MemoryQueue, MemoryServer
from tests.workers.support import Line, NowReactor, message


class World:
    """An owner, and what a session process has of it."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.queue = MemoryQueue()
        self.limits = LoginLimits(2, 60.0, 1.0, Clock().seconds)
        self.owner = Owner(self.server.mailstore, self.queue, self.limits, self.server.budget)
        channel = Channel({})
        self.line = Line(channel, Channel(self.owner.words))
        self.remote = RemoteQueue(channel, NowReactor())
        self.logins = RemoteLoginLimits(channel)

    def another(self) -> tuple[Owner, RemoteLoginLimits]:
        """A second session process's."""
        owner, channel = Owner(self.server.mailstore, self.queue, self.limits, self.server.budget), Channel({})
        Line(channel, Channel(owner.words))
        return owner, RemoteLoginLimits(channel)


@pytest.fixture
def world() -> World:
    return World()


@given(st.lists(st.binary(max_size=3 * PIECE), max_size=4))
def test_pieces_are_bounded_and_make_the_content(chunks: list[bytes]) -> None:
    found = list(pieces(chunks))
    assert b"".join(piece for piece, _ in found) == b"".join(chunks)
    assert all(len(piece) <= PIECE for piece, _ in found)
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize("size", [0, 10, PIECE, 10 * PIECE + 1])
def test_messages_and_content_reach_the_queue(world: World, size: int) -> None:
    messages = [message("m1", "bob"), message("m2", *(f"user{number}" for number in range(5000)))]
    world.remote.enqueue(messages, lambda: iter([b"x" * size]))
    assert world.queue.messages == [(each, b"x" * size) for each in messages]
    assert world.server.budget.used == 0


@pytest.mark.parametrize("trouble", [StorageFull("no room"), StorageFailed("away")])
def test_the_queues_trouble_is_the_workers(world: World, trouble: Exception) -> None:
    world.queue.trouble = trouble
    with pytest.raises(type(trouble), match=str(trouble)):
        world.remote.enqueue([message()], lambda: iter([b"x"]))
    assert world.server.budget.used == 0


def test_small_content_reaches_the_queue_without_a_thread(world: World) -> None:
    result(world.remote.enqueue_small([message()], b"x"))
    assert world.queue.messages == [(message(), b"x")]
    assert world.owner._coming == {}


@pytest.mark.parametrize("trouble", [StorageFull("no room"), StorageFailed("away")])
def test_the_queues_trouble_with_small_content_is_the_workers(world: World, trouble: Exception) -> None:
    world.queue.trouble = trouble
    failed = world.remote.enqueue_small([message()], b"x")
    assert str(SynchronousTestCase().failureResultOf(failed, type(trouble)).value) == str(trouble)


def test_small_content_counts_in_the_owners_memory_until_it_is_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Deferred[None]] = []

    def enqueue_small(*_: object) -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    monkeypatch.setattr(world.queue, "enqueue_small", enqueue_small)
    taken = [world.remote.enqueue_small([message()], b"x" * size) for size in (100, 20)]
    assert world.server.budget.used == 120
    waiting[0].callback(None)
    assert world.server.budget.used == 20
    waiting[1].errback(StorageFull("no room"))
    assert world.server.budget.used == 0
    SynchronousTestCase().failureResultOf(taken[1], StorageFull)


def test_small_content_goes_to_a_file_where_the_owners_memory_is_used_up(world: World) -> None:
    world.server.budget.limit = 0
    world.server.budget.change(1)
    before = len(world.server.files.calls)
    result(world.remote.enqueue_small([message()], b"x" * 1000))
    assert "open_anonymous" in str(world.server.files.calls[before:])
    assert world.queue.messages == [(message(), b"x" * 1000)]
    assert world.server.budget.used == 1


def test_the_owner_gone_is_a_storage_that_failed(world: World) -> None:
    waiting = Channel({"enqueue": lambda *_, **__: Deferred()})
    asking = Channel({})
    line = Line(asking, waiting)
    taken = RemoteQueue(asking, NowReactor()).enqueue_small([message()], b"x")
    line.cut()
    world.line.cut()
    with pytest.raises(StorageFailed):
        world.remote.enqueue([message()], lambda: iter([b"x"]))
    for failed in (taken, world.remote.enqueue_small([message()], b"x")):
        SynchronousTestCase().failureResultOf(failed, StorageFailed)


def test_content_that_cannot_be_read_is_forgotten_by_the_owner(world: World) -> None:
    def content() -> Iterator[bytes]:
        yield b"x" * 3 * PIECE
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        world.remote.enqueue([message()], content)
    assert world.queue.messages == []
    assert world.server.budget.used == 0
    assert world.owner._coming == {}


def test_what_a_process_that_ends_was_sending_is_forgotten(world: World) -> None:
    channel = Channel({})
    Line(channel, Channel(world.owner.words))
    channel.ask("enqueue", b"x" * 100, number=1, messages=[], whole=False)
    assert world.server.budget.used == 100
    world.owner.gone()
    assert world.server.budget.used == 0


@pytest.mark.parametrize("last", [False, True])
def test_what_was_forgotten_meanwhile_is_no_success(world: World, monkeypatch: pytest.MonkeyPatch, last: bool) -> None:
    written: Deferred[None] = Deferred()
    body = world.server.mailstore.stage(None)
    monkeypatch.setattr(type(body), "write", lambda self, octets: written)
    channel = Channel({})
    Line(channel, Channel(world.owner.words))
    world.owner._coming[1] = ([message()], body)
    taken = channel.ask("piece", b"x", number=1, whole=last)
    channel.tell("forget", number=1)
    written.callback(None)
    SynchronousTestCase().failureResultOf(taken, StorageFailed)
    assert world.queue.messages == []


def test_failed_logins_count_over_all_processes(world: World) -> None:
    _, other = world.another()
    assert result(world.logins.failed("192.0.2.1", "ann")) == 1.0
    assert result(other.refusal("192.0.2.9", "ann")) is None
    assert result(other.failed("192.0.2.2", "ann")) == 2.0
    assert result(world.logins.refusal("192.0.2.9", "ann")) == ACCOUNT_LIMITED
    result(world.logins.succeeded("192.0.2.9", "ann"))
    assert result(other.refusal("192.0.2.9", "ann")) is None


def test_one_attempt_at_a_time_over_all_processes(world: World) -> None:
    _, other = world.another()
    (mine,), (theirs,) = world.logins.turns("192.0.2.1", "ann"), other.turns("192.0.2.2", "ann")
    assert mine.acquire().called
    waiting = theirs.acquire()
    assert not waiting.called
    mine.release()
    assert waiting.called


@attrs.define
class _Ended:
    owner: Owner
    logins: RemoteLoginLimits


def test_a_process_that_ends_gives_its_turns_back_and_waits_for_no_more(world: World) -> None:
    holds, waits = _Ended(*world.another()), _Ended(*world.another())
    assert holds.logins.turns("192.0.2.1", "ann")[0].acquire().called
    assert not waits.logins.turns("192.0.2.2", "ann")[0].acquire().called
    mine = world.logins.turns("192.0.2.3", "ann")[0].acquire()
    waits.owner.gone()
    assert not mine.called
    holds.owner.gone()
    assert mine.called
