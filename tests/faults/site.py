"""A real server whose calls to the system can be made to fail, and those who send to it meanwhile."""

from __future__ import annotations

import errno
import os
import re
import signal
import smtplib
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from tests import programs
from tests.peers.mail import new
from tests.peers.server import DEADLINE, TWISTD, Server, environment

ANN = "ann@example.org"
USER1, USER2 = "user1@hostmeister.de", "user2@hostmeister.de"
ELSEWHERE = "zed@elsewhere.test"
SMALL = "Subject: small\r\n\r\nsmall\r\n"
#: Beyond what is kept in memory while it arrives, and what the queue keeps in one piece.
LARGE = "Subject: large\r\n\r\n" + "a large message\r\n" * 20_000
#: What the queue is written to.
LOG = "queue.db-wal"
#: A round has one of each kind of trouble, and a success.
_TROUBLES = [
    (f"write user1/tmp/ {errno.ENOSPC}", USER1, 452),
    (f"sync user1/new {errno.EIO}", USER1, 451),
    (f"open user1/tmp/ {errno.EROFS}", USER1, 451),
    (f"write {LOG} {errno.ENOSPC}", ELSEWHERE, 452),
    (f"sync {LOG} {errno.EIO}", ELSEWHERE, 451),
    ("none none 1", USER1, 250),
]
_NUMBER = re.compile(rb"^X-Number: (\d+)$", re.MULTILINE)
_SOURCE = Path(__file__).with_name("faults.c")
#: Nothing is tried twice while a test runs, so that the queue is idle.
_CONFIGURATION = """
hostname = "mx.example"
workers = {workers}
whitelist = {{ hosts = ["hostmeister.de"], users = ["user1", "user2"] }}
relay = {{ networks = ["127.0.0.0/8"], resolver = "127.0.0.1:1" }}
queue = {{ retry_first = "1 h", retry_most = "1 h" }}
limits = {{ sessions_per_network = 1000, stop_time = "1 s" }}
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
"""


def build(directory: Path) -> Path:
    """The library that makes calls fail."""
    library = directory / "faults.so"
    command = [programs.path("cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=DEADLINE)
    return library


@attrs.frozen
class Held:
    """What a process holds: descriptors, threads, and kibibytes of memory."""

    descriptors: int
    threads: int
    memory: int

    @classmethod
    def by(cls, pid: int) -> Held:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors, threads = (sum(1 for _ in Path(f"/proc/{pid}/{what}").iterdir()) for what in ("fd", "task"))
        return cls(descriptors, threads, pages * os.sysconf("SC_PAGESIZE") // 1024)


@attrs.frozen
class Site:
    """A server that runs, and the file that says what fails."""

    server: Server
    port: int
    faults: Path

    @contextmanager
    def failing(self, *rules: str) -> Iterator[None]:
        """Have calls fail in the block, each as C{CALL PATH ERRNO} (see C{faults.c}); errno 0 hangs."""
        prepared = self.faults.with_suffix(".new")
        prepared.write_text("".join(f"{rule}\n" for rule in rules))
        prepared.rename(self.faults)
        try:
            yield
        finally:
            self.faults.unlink()

    def connect(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=DEADLINE)
        client.ehlo("client.test")
        return client

    def mailbox(self, user: str) -> list[bytes]:
        """What is seen in a user's mailbox."""
        return new(self.server.mailboxes / user)

    def debris(self) -> list[str]:
        """What lies in any C{tmp}."""
        return [path.name for user in self.server.mailboxes.iterdir() for path in (user / "tmp").iterdir()]


@contextmanager
def started(directory: Path, library: Path | None = None, workers: int = 1) -> Iterator[Site]:
    """A site in C{directory}. It must end well, and never meet what it did not expect."""
    (directory / "mailagent.toml").write_text(_CONFIGURATION.format(workers=workers))
    faults = directory / "faults"
    more = {} if library is None else {"LD_PRELOAD": str(library), "FAULTS": str(faults)}
    command = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
    server = Server(command, directory, environment(**more))
    try:
        server.wait_for_output('"worker_started"', workers if workers > 1 else 0)
        yield Site(server, server.port, faults)
        server.stop()
        assert "traceback" not in server.output
    finally:
        server.end()


def send(client: smtplib.SMTP, content: str, *recipients: str) -> tuple[int, str]:
    """The first reply that is not a success, or the last one, to a message: code and enhanced status."""
    client.rset()
    for command in (f"MAIL FROM:<{ANN}>", *(f"RCPT TO:<{each}>" for each in recipients)):
        code, said = client.docmd(command)
        if code != 250:
            break
    else:
        code, said = client.data(content)
    return code, said.split()[0].decode()


class Load:
    """Some sessions that send numbered messages to one recipient each until they are told to stop.

    @ivar acknowledged: the numbers of those that were.
    @ivar refused: the codes of the replies to the others.
    """

    def __init__(self, site: Site, *recipients: str) -> None:
        self.acknowledged: dict[str, list[int]] = {recipient: [] for recipient in recipients}
        self.refused: list[int] = []
        self._site = site
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, args=(each,), daemon=True) for each in recipients]
        for thread in self._threads:
            thread.start()

    def _work(self, recipient: str) -> None:
        number = 0
        with suppress(smtplib.SMTPServerDisconnected), self._site.connect() as client:
            while not self._stop.is_set():
                number += 1
                code, _ = send(client, f"X-Number: {number}\r\n\r\n{'whole ' * 100}\r\nend\r\n", recipient)
                with self._changed:
                    if code == 250:
                        self.acknowledged[recipient].append(number)
                    else:
                        self.refused.append(code)
                    self._changed.notify_all()

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Return once it is so, which is asked after each reply."""
        with self._changed:
            assert self._changed.wait_for(happened, DEADLINE)

    def wait_for_more(self, recipient: str, count: int = 3) -> None:
        """Return when so many more messages have been acknowledged."""
        before = len(self.acknowledged[recipient])
        self.wait_for(lambda: len(self.acknowledged[recipient]) >= before + count)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def hang_up(site: Site) -> None:
    site.server.signal(signal.SIGHUP)


def assert_whole(messages: list[bytes]) -> set[int]:
    """No message is torn; returns their numbers."""
    numbers = set()
    for each in messages:
        assert each.endswith(b"\nend\n")
        found = _NUMBER.search(each)
        assert found
        numbers.add(int(found[1]))
    return numbers


def lose_and_regain_a_mailbox(site: Site, load: Load, rounds: int) -> None:
    """Take C{user1}'s away under load, and give it back. Mail for it is put off meanwhile, and none is lost."""
    mailbox, aside = site.server.mailboxes / "user1", site.server.mailboxes / "aside"
    for _ in range(rounds):
        load.wait_for_more(USER1)
        refused = len(load.refused)
        mailbox.rename(aside)
        load.wait_for(lambda refused=refused: len(load.refused) > refused)  # type: ignore[misc]
        load.wait_for_more(USER2)
        aside.rename(mailbox)
    load.wait_for_more(USER1)
    load.end()
    assert set(load.refused) == {451}
    for recipient, user in ((USER1, "user1"), (USER2, "user2")):
        assert set(load.acknowledged[recipient]) <= assert_whole(site.mailbox(user))
    for path in (mailbox / "tmp").iterdir():  # where it was taken away, nobody could tidy up
        path.unlink()


def play_troubles(site: Site, *contents: str) -> None:
    """A round of storage that fails, each kind once for each content, with the reply that it should have."""
    with site.connect() as client:
        for rule, recipient, expected in _TROUBLES:
            with site.failing(rule):
                for content in contents:
                    assert send(client, content, recipient)[0] == expected
        client.docmd("MAIL FROM:<>")  # and gone, amid a transaction
