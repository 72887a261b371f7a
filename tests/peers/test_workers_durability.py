"""The order of system calls behind every C{250} of several processes under load, seen by strace.

A copy is synced, then linked, then its directory is synced, then C{250} is sent by the same process. What is queued is
written to the database's log by the owner, which is synced before a session process sends C{250}.
"""

from __future__ import annotations

import re
import smtplib
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import attrs
import pytest

from tests import programs
from tests.peers.server import DEADLINE, TWISTD, Server
from tests.peers.trace import Call, calls

HERE = ["user1@hostmeister.de", "user2@hostmeister.de", "user3@hostmeister.de"]
ELSEWHERE = ["zed@elsewhere.test", "zoe@other.test"]
_SMALL, _LARGE = "Subject: x\r\n\r\nhi\r\n", "Subject: x\r\n\r\n" + "a large message\r\n" * 20_000
_KINDS = [HERE[:1], HERE, ELSEWHERE[:1], ELSEWHERE, HERE[1:] + ELSEWHERE, HERE[:1] + ELSEWHERE[:1]]
_CONFIGURATION = """
hostname = "mx.example"
workers = 2
whitelist = { hosts = ["hostmeister.de"], users = ["user1", "user2", "user3"] }
relay = { networks = ["127.0.0.0/8"], resolver = "127.0.0.1:1" }
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
"""
_TRACED = "trace=fsync,fdatasync,link,linkat,pwrite64,sendto"
_STORED = re.compile(r"250 2\.0\.0 Stored as (\w+)")
_SYNCED = re.compile(r"\d+<([^>]+)>")

pytestmark = pytest.mark.requires("strace")


@attrs.frozen
class Trace:
    """What the server has done, by what it was done to.

    @ivar sent: the C{250} of each message.
    @ivar copies: the sync of each file in a C{tmp}; C{links}, of files into a C{new}.
    @ivar published: syncs of directories; C{committed}, of the database's log, which was C{written} before.
    """

    sent: dict[str, Call] = attrs.field(factory=dict)
    copies: list[tuple[Path, Call]] = attrs.field(factory=list)
    links: list[tuple[Path, Call]] = attrs.field(factory=list)
    published: list[tuple[Path, Call]] = attrs.field(factory=list)
    committed: list[Call] = attrs.field(factory=list)
    written: list[Call] = attrs.field(factory=list)

    @classmethod
    def read(cls, file: Path) -> Trace:
        trace = cls()
        for call in calls(file.read_text().splitlines()):
            trace._sort(call)
        return trace

    def _sort(self, call: Call) -> None:
        if call.name == "sendto":
            if stored := _STORED.search(call.words):
                assert stored[1] not in self.sent
                self.sent[stored[1]] = call
        elif call.name == "pwrite64":
            if "queue.db-wal>" in call.words:
                self.written.append(call)
        elif call.name in ("link", "linkat"):
            self.links.append((Path(re.findall(r'"([^"]+)"', call.words)[-1]), call))
        else:
            self._sort_sync(call)

    def _sort_sync(self, call: Call) -> None:
        found = _SYNCED.match(call.words)
        assert found, call.words
        path = Path(found[1])
        if path.name == "queue.db-wal":
            self.committed.append(call)
        elif path.name == "new":
            self.published.append((path, call))
        elif path.parent.name == "tmp":
            self.copies.append((path, call))

    def examine(self, id_: str, here: int, queued: bool) -> None:
        """A message's 250 came after all that it stands for."""
        said = self.sent[id_]
        if here:
            self._examine_copies(id_, here, said)
        if queued:
            first = next(call for call in self.written if id_ in call.words)
            sync = next(call for call in self.committed if first.before(call))
            assert sync.before(said), f"{id_}: acknowledged before it was committed"
            assert sync.pid != said.pid

    def _examine_copies(self, id_: str, here: int, said: Call) -> None:
        synced = [call for path, call in self.copies if id_ in path.name]
        linked = [(path, call) for path, call in self.links if id_ in path.name and path.parent.name == "new"]
        assert len(synced) == len({path for path, _ in linked}) == here
        for path, link in linked:
            assert all(sync.before(link) for sync in synced), f"{id_}: visible before all copies were synced"
            directories = [call for directory, call in self.published if directory == path.parent]
            assert any(link.before(call) and call.before(said) for call in directories), (
                f"{id_}: acknowledged before {path.parent} was synced"
            )


class Sending:
    """Sessions at the same time, whose messages are of all kinds.

    @ivar taken: each acknowledged message's id, and its recipients.
    """

    def __init__(self, port: int, messages: int, sessions: int) -> None:
        self.taken: dict[str, list[str]] = {}
        self._port = port
        self._messages = messages
        self._numbers = count()
        threads = [threading.Thread(target=self._work, args=(number % 2 == 0,)) for number in range(sessions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, kept: bool) -> None:
        while True:
            with smtplib.SMTP("127.0.0.1", self._port, timeout=DEADLINE) as client:
                client.ehlo()
                for _ in range(10 if kept else 1):
                    number = next(self._numbers)
                    if number >= self._messages:
                        return
                    self._send(client, number)

    def _send(self, client: smtplib.SMTP, number: int) -> None:
        recipients = _KINDS[number % len(_KINDS)]
        client.mail("ann@example.org")
        for recipient in recipients:
            assert client.rcpt(recipient)[0] == 250
        code, said = client.data(_LARGE if number % 10 == 9 else _SMALL)
        assert code == 250
        self.taken[said.decode().rpartition(" ")[2]] = recipients


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server under strace, which writes to the file C{trace} beside the mailboxes."""
    directory = tmp_path_factory.mktemp("traced")
    strace = [programs.path("strace"), "-f", "--seccomp-bpf", "-yy", "-s", "4096", "-o", str(directory / "trace")]
    (directory / "mailagent.toml").write_text(_CONFIGURATION)
    command = [sys.executable, str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
    server = Server([*strace, "-e", _TRACED, *command], directory)
    try:
        server.wait_for_output('"worker_started"', 2)
        yield server
    finally:
        server.end()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("messages", [60, pytest.param(1500, marks=pytest.mark.torture)])
def test_before_each_250_all_that_it_stands_for_is_on_stable_storage(traced: Server, messages: int) -> None:
    sending = Sending(traced.port, messages, sessions=6)
    assert len(sending.taken) == messages
    for _ in range(2):  # once it is answered, strace has written what was before
        with smtplib.SMTP("127.0.0.1", traced.port, timeout=DEADLINE) as client:
            client.noop()
    trace = Trace.read(traced.mailboxes.parent / "trace")
    for id_, recipients in sending.taken.items():
        here = sum(recipient in HERE for recipient in recipients)
        trace.examine(id_, here, queued=here < len(recipients))
    print(
        f"{messages} messages: {len(trace.copies)} files and {len(trace.published)} times a directory synced, "
        f"{len(trace.committed)} times the database's log, {len({call.pid for call in trace.sent.values()})} processes"
    )
    assert len({call.pid for call in trace.sent.values()}) == 2
