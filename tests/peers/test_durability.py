"""The order of system calls behind a C{250}, seen from outside by strace on the real process."""

from __future__ import annotations

import re
import smtplib
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import attrs
import pytest

from mailagent.maildir.file_systems import FileSystems
from mailagent.maildir.publishing import TOGETHER
from tests import programs
from tests.peers.server import DEADLINE, TWISTD, Server

USERS = ["user1@hostmeister.de", "user2@hostmeister.de"]
ELSEWHERE = "zed@elsewhere.test"
SMALL = "Subject: x\r\n\r\nhi\r\n"
#: What the queue keeps in two pieces.
LARGE = "Subject: x\r\n\r\n" + "a large message\r\n" * 20_000
_CONFIGURATION = """
hostname = "mx.example"
whitelist = { hosts = ["hostmeister.de"], users = ["user1", "user2"] }
relay = { networks = ["127.0.0.0/8"], resolver = "127.0.0.1:1" }
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
"""
CALLS = re.compile(
    r"(?P<all>syncfs)\("
    r"|(?P<sync>f(?:data)?sync)\(\d+<(?P<synced>[^>]+)>"
    r"|(?P<link>link(?:at)?)\(.*\"(?P<linked>[^\"]+)\"(?:, 0)?(?:\)| <unfinished)"
    r"|(?P<write>pwrite64)\(\d+<[^>]+-wal>"
    r"|(?P<send>send(?:to)?)\(\d+<[^>]*>, \"(?P<sent>[^\"]*)"
)
LOGGED = ["write to the log", "sync the log"]

pytestmark = pytest.mark.requires("strace")


@attrs.frozen
class Traced:
    """A server under strace, which writes to the file C{trace}."""

    server: Server
    trace: Path

    def calls(self, recipients: list[str], content: str) -> list[str]:
        """What it did for a message, up to the C{250}; what it did several times in a row once."""
        with smtplib.SMTP("127.0.0.1", self.server.port, timeout=DEADLINE) as client:
            client.ehlo()
            before = self.trace.read_text().count("\n")
            client.sendmail("ann@example.org", recipients, content)
            client.noop()  # once it is answered, strace has written what was before
            lines = self.trace.read_text().splitlines()[before:]
        found = [match for line in lines if (match := CALLS.search(line))]
        happened = [name for name, _ in groupby(map(_called, found)) if name != "other reply"]
        happened = happened[: happened.index("250")]
        if happened[-1] == LOGGED[0]:  # the scheduler is about to lease it already: another transaction
            happened.pop()
        return [*happened, "250"]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    directory = tmp_path_factory.mktemp("traced")
    trace = directory / "trace"
    strace = [programs.path("strace"), "-f", "-y", "-s", "256", "-o", str(trace)]
    strace += ["-e", "trace=fsync,fdatasync,syncfs,link,linkat,pwrite64,sendto"]
    server_command = [sys.executable, str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
    (directory / "mailagent.toml").write_text(_CONFIGURATION)
    server = Server([*strace, *server_command], directory)
    try:
        server.wait_for("listening")
        yield Traced(server, trace)
    finally:
        server.end()


def _called(found: re.Match[str]) -> str:
    """One call in short: what was synced or linked, a file by its directory; C{"250"} for the reply that counts."""
    if found["send"]:
        return "250" if "Stored as" in found["sent"] else "other reply"
    if found["all"]:
        return "sync of all"
    if found["write"]:
        return LOGGED[0]
    path = Path(found["synced"] or found["linked"])
    if path.name == "queue.db-wal":
        return LOGGED[1]
    place = path if path.name in ("tmp", "new") else path.parent
    return f"{'fsync' if found['sync'] else 'link'} {place.parent.name}/{place.name}"


def test_every_copy_is_synced_published_and_its_directory_synced_before_the_250(traced: Traced) -> None:
    happened = [
        call for call in traced.calls(USERS, SMALL) if " user" in call or call == "250"
    ]  # else the queue's own affairs
    # Threads do each step for all copies, in any order, and the next one after that.
    steps = [set(happened[start : start + len(USERS)]) for start in range(0, 3 * len(USERS), len(USERS))]
    assert steps == [
        {"fsync user1/tmp", "fsync user2/tmp"},
        {"link user1/new", "link user2/new"},
        {"fsync user1/new", "fsync user2/new"},
    ]
    assert happened[3 * len(USERS) :] == ["250"]


def test_many_copies_are_synced_together_where_that_is_safe(traced: Traced) -> None:
    many = [f"user1+{number}@hostmeister.de" for number in range(TOGETHER)]
    one_by_one = ["fsync user1/tmp", "link user1/new", "fsync user1/new", "250"]
    together = ["sync of all", "link user1/new", "sync of all", "fsync user1/new", "250"]
    safe = FileSystems().number(str(traced.trace.parent)) is not None
    assert traced.calls(many, SMALL)[-5 if safe else -4 :] == (together if safe else one_by_one)


@pytest.mark.parametrize(("content", "transactions"), [(SMALL, 1), (LARGE, 3)], ids=["small", "large"])
def test_what_is_queued_is_in_the_databases_log_which_is_synced_before_the_250(
    traced: Traced, content: str, transactions: int
) -> None:
    expected = [*LOGGED * transactions, "250"]
    assert traced.calls([ELSEWHERE], content)[-len(expected) :] == expected


def test_copies_are_published_and_synced_before_the_queue_has_the_last_word(traced: Traced) -> None:
    happened = traced.calls([USERS[0], ELSEWHERE], SMALL)
    copied = ["fsync user1/tmp", "link user1/new", "fsync user1/new"]
    assert [call for call in happened if call not in LOGGED] == [*copied, "250"]
    assert happened[happened.index(copied[-1]) + 1 :][-3:] == [*LOGGED, "250"]
