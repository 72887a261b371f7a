"""What lies in the drop, where anybody may put anything."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from mailagent.config import Limits
from mailagent.config.values import Count, Size
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import Chunks, IQueue, StorageFailed
from mailagent.reception.drop import Drop
from mailagent.sendmail.drop import leave
from tests.maildir.support import Events
from tests.memory_server import MIDNIGHT, MemoryServer

ANN, BOB = Address("ann", "a.example"), Address("bob", "b.example")
ENVELOPE = Envelope(ANN, (BOB,))
CONTENT = b"Subject: x\n\nhi\n"


@implementer(IQueue)
@attrs.define
class ListQueue:
    """Remembers what it was given, or refuses it."""

    taken: list[tuple[QueuedMessage, bytes]] = attrs.field(factory=list)
    trouble: Exception | None = None

    def enqueue(self, messages: Sequence[QueuedMessage], content: Chunks) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.taken += [(message, b"".join(content())) for message in messages]

    def enqueue_small(self, messages: Sequence[QueuedMessage], content: bytes) -> Deferred[None]:
        return execute(self.enqueue, messages, lambda: iter([content]))


class Site:
    """A drop, its queue and the log."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.queue = ListQueue()
        self.events = Events()
        self.limits = Limits(message_size=Size(5000), header_size=Size(500), hops=Count(3))
        reception = MemoryServer().reception
        self.drop = Drop(str(path), reception, self.queue, lambda: self.limits, lambda number: "ann")
        monkeypatch.setattr(Drop, "_log", self.events.log)

    def leave(self, name: str = "1", envelope: Envelope = ENVELOPE, content: bytes = CONTENT) -> None:
        leave(str(self.path), envelope, [content], name)

    def refused(self) -> list[Any]:
        return [event["file"] for event in self.events if event.get("event") == "drop_refused"]

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_a_message_is_queued_with_its_trace_field_and_what_it_lacks_and_the_file_goes(site: Site) -> None:
    site.leave(envelope=attrs.evolve(ENVELOPE, envelope_id="x", notify={BOB: Notify(frozenset({"NEVER"}))}))
    site.drop.take_all()
    ((message, content),) = site.queue.taken
    assert content == CONTENT
    assert message.header.startswith(b"Received: by mx.example.org (from user ann, number %d) id " % os.getuid())
    assert b"\nDate: " in message.header
    assert b"\nMessage-ID: <" in message.header
    assert (message.envelope.reverse_path, message.envelope.recipients) == (ANN, (BOB,))
    assert message.envelope.wishes(BOB).conditions == {"NEVER"}
    assert (message.report_to, message.login, message.envelope.envelope_id) == (ANN, "ann", "x")
    assert message.envelope.size == len(message.header) + len(content)
    assert site.names == []


def test_a_bare_text_gets_a_header(site: Site) -> None:
    site.leave(content=b"hi\n")
    site.drop.take_all()
    assert b"\nTo: bob@b.example\n" in site.queue.taken[0][0].header
    assert site.queue.taken[0][0].header.endswith(b"\n\n")


@pytest.mark.parametrize(
    ("content", "eight_bit", "utf8_header"),
    [(CONTENT, False, False), (b"A: b\n\n\xff\n", True, False), ("A: ö\n\nx\n".encode(), True, True)],
)
def test_what_the_content_holds_is_seen(site: Site, content: bytes, eight_bit: bool, utf8_header: bool) -> None:
    site.leave(content=content)
    site.drop.take_all()
    envelope = site.queue.taken[0][0].envelope
    assert (envelope.eight_bit, envelope.utf8_header) == (eight_bit, utf8_header)


def test_the_oldest_is_first_and_one_that_is_bad_stops_none(site: Site) -> None:
    for name in ("3", "1"):
        site.leave(name, Envelope(None, (Address(f"r{name}", "a.example"),)))
    (site.path / "2").write_bytes(b"nonsense")
    site.drop.take_all()
    assert [str(message.envelope.recipients[0]) for message, _ in site.queue.taken] == ["r1@a.example", "r3@a.example"]
    assert site.names == ["2.bad"]


def _make_bad(kind: str, path: Path, outside: Path) -> None:
    good = b"MAIL FROM:<>\nRCPT TO:<bob@b.example>\n\nA: b\n\nhi\n"
    outside.write_bytes(good)
    if kind == "symlink":
        path.symlink_to(outside)
    elif kind == "hard link":
        path.hardlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
        (path / "x").write_bytes(good)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        contents = {
            "huge": good + b"x" * 5000,
            "half-written": good[:25],
            "carriage returns": good + b"x\r\n",
            "large header": b"MAIL FROM:<>\nRCPT TO:<bob@b.example>\n\n" + b"A: b\n" * 200,
            "circle": b"MAIL FROM:<>\nRCPT TO:<bob@b.example>\n\n" + b"Received: x\n" * 4,
            "empty": b"",
            "nowhere": "MAIL FROM:<>\nRCPT TO:<bob@\u0378.example>\n\nA: b\n\nhi\n".encode(),
            "no domain": b"MAIL FROM:<>\nRCPT TO:<postmaster>\n\nA: b\n\nhi\n",
        }
        path.write_bytes(contents[kind])


BAD = ["symlink", "hard link", "fifo", "directory", "socket"]
BAD += ["huge", "half-written", "carriage returns", "large header", "circle", "empty", "nowhere", "no domain"]


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_message_is_set_aside_and_told_once(
    site: Site, kind: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.path)  # the name of a socket is short
    _make_bad(kind, Path("1"), tmp_path_factory.mktemp("outside") / "secret")
    for _ in range(3):
        site.drop.take_all()
    assert site.queue.taken == []
    assert site.refused() == ["1"]
    assert site.names == ["1.bad"]


def test_a_file_that_cannot_be_read_is_set_aside(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:  # as to anybody but root, who may run the tests
        raise PermissionError(errno.EACCES, "Permission denied", path)

    site.leave()
    monkeypatch.setattr("os.open", refuse)
    site.drop.take_all()
    assert site.names == ["1.bad"]


def test_a_file_whose_owner_holds_a_lease_on_it_stops_no_other(site: Site) -> None:
    for name in ("1", "2"):
        site.leave(name)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the lease's holder is told that we want the file
    file = os.open(site.path / "1", os.O_WRONLY)
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        site.drop.take_all()
    finally:
        os.close(file)
        signal.signal(signal.SIGIO, before)
    assert len(site.queue.taken) == 1
    assert (site.names, site.refused()) == (["1.bad"], ["1"])


def test_one_that_cannot_even_be_set_aside_is_told_once_and_forgotten_when_it_goes(site: Site) -> None:
    (site.path / "1").write_bytes(b"nonsense")
    (site.path / "1.bad").mkdir()
    site.drop.take_all()
    site.drop.take_all()
    assert site.refused() == ["1"]
    (site.path / "1").unlink()
    site.drop.take_all()
    site.leave()
    site.drop.take_all()
    assert len(site.queue.taken) == 1


def test_a_defect_of_ours_sets_a_file_aside_and_stops_no_other(site: Site) -> None:
    site.leave()
    site.queue.trouble = ZeroDivisionError()
    site.drop.take_all()
    assert (site.names, site.refused()) == (["1.bad"], ["1"])


def test_while_the_queue_takes_nothing_it_waits_and_that_is_told_once(site: Site) -> None:
    site.leave()
    site.queue.trouble = StorageFailed("away")
    site.drop.take_all()
    site.drop.take_all()
    assert site.names == ["1"]
    assert [event["reason"] for event in site.events if event.get("event") == "error"] == ["away"]
    site.queue.trouble = None
    site.drop.take_all()
    assert (len(site.queue.taken), site.names) == (1, [])


def test_what_is_being_written_is_left_alone_and_removed_after_days(site: Site) -> None:
    for name, age in ((".old", 200_000), (".new", 1000)):
        (site.path / name).write_bytes(b"")
        os.utime(site.path / name, (MIDNIGHT - age, MIDNIGHT - age))
    site.drop.take_all()
    assert site.names == [".new"]


def test_one_that_cannot_be_removed_is_queued_once_and_that_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    site.leave()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        site.drop.take_all()
        site.drop.take_all()
    assert len(site.queue.taken) == 1
    assert "not permitted" in str([event["reason"] for event in site.events if event.get("event") == "error"])


def test_a_name_that_comes_again_is_another_message(site: Site) -> None:
    for _ in range(2):
        site.leave("1")
        site.drop.take_all()
    assert len(site.queue.taken) == 2
