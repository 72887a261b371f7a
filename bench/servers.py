"""The servers that are compared: how each is started, and what a measurement sees of it.

All listen on loopback, know the same users, deliver to Maildirs on the same disk with fsync, and send mail for
elsewhere to an C{smtp-sink}. What each is configured with is in L{Running.settings}, to be published with the figures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import attrs

from bench.processes import Sink, await_port
from mailagent import __version__
from tests import programs
from tests.peers.server import TWISTD, Server, environment, free_port

HOST = "hostmeister.de"
#: The mailbox of mail with one recipient. For the others C{smtp-source} puts numbers before it.
USER = "user"
#: Users there are.
MOST_RECIPIENTS = 1000


def users(recipients: int) -> list[str]:
    """To whom mail with so many recipients goes."""
    return [USER, *(f"{number}{USER}" for number in range(2, recipients + 1))]


ALL_USERS = users(MOST_RECIPIENTS)


@attrs.frozen
class Running:
    """A server that runs.

    @ivar pid: the process above all of its others.
    @ivar mailboxes: the directory with a Maildir for each user.
    @ivar sink: where its mail for elsewhere goes; C{None} if it does not send any.
    @ivar settings: what it was configured with.
    @ivar pace: the share of the others' messages that it is given, so that a slow one takes no longer.
    @ivar all_cpu: whether all of its processor time is seen; else there is more.
    """

    name: str
    version: str
    pid: int
    port: int
    mailboxes: Path
    sink: Sink | None = None
    settings: str = ""
    pace: float = 1.0
    all_cpu: bool = True

    def stored(self, recipients: int) -> int:
        """Messages in C{new} of the mailboxes of so many recipients."""
        count = 0
        for user in users(recipients):
            new = self.mailboxes / user / "new"
            count += len(os.listdir(new)) if new.exists() else 0
        return count

    def empty(self) -> None:
        """Move all mail aside, so that the next round begins as this one did.

        It is removed when all is over: where ext4 has no journal, making a file passes over all inodes that were freed
        in the last minutes, which whoever comes next would pay for.
        """
        aside = self.mailboxes.with_name("aside")
        aside.mkdir(exist_ok=True)
        for new in self.mailboxes.glob("*/new"):
            for message in os.scandir(new):
                os.rename(message.path, aside / f"{message.inode()}")


class CannotStart(Exception):
    """A server cannot be run here, and why."""


_CONFIG = """{own}
hostname = "bench.example"
[whitelist]
hosts = ["hostmeister.de", "hostgator.com"]
users = {users}
[[listen]]
endpoint = "tcp:{port}:interface=127.0.0.1"
[limits]
recipients = 1000
message_size = "100 MiB"
[relay]
networks = ["127.0.0.0/8"]
[routes]
"*" = {{ to = "smtp:127.0.0.1:{sink}" }}
"""


def start_sink(home: Path, stack: ExitStack) -> Sink | None:
    """What takes the mail for elsewhere, or C{None} where there is no C{smtp-sink}."""
    if programs.find("smtp-sink") is None:
        return None
    sink = Sink(home)
    stack.callback(sink.end)
    return sink


def mailagent(home: Path, stack: ExitStack, own: str = "") -> Running:
    """Ours, by C{twistd} as in service, with its log in a file.

    @param own: further lines for the top of its configuration.
    """
    port, sink, config = free_port(), start_sink(home, stack), home / "mailagent.toml"
    text = _CONFIG.format(own=own, users=ALL_USERS, port=port, sink=sink.port if sink else 1)
    config.write_text(text)
    command = [str(TWISTD), "-n", "--pidfile=", "--logfile=log", "mailagent", "--config", str(config)]
    server = Server(command, home)
    stack.callback(server.end)
    await_port(port)
    settings = text.replace(repr(ALL_USERS), "[...]")
    return Running("mailagent", __version__, server.pid, port, home / "mailboxes", sink, settings)


def aiosmtpd(home: Path, stack: ExitStack, own: str = "") -> Running:
    """aiosmtpd with the standard library's Maildir (L{bench.maildir_server}).

    @raise CannotStart: it is not installed.
    """
    try:
        its_version = version("aiosmtpd")
    except ModuleNotFoundError:
        raise CannotStart("aiosmtpd is not installed (the extra [bench])") from None
    port, mailboxes = free_port(), home / "mailboxes"
    mailboxes.mkdir()
    command = [sys.executable, "-m", "bench.maildir_server", str(port), str(mailboxes), *ALL_USERS]
    server = Server(command, home, environment())
    stack.callback(server.end)
    await_port(port)
    return Running("aiosmtpd", its_version, server.pid, port, mailboxes)


#: Starts a server below a directory.
Start = Callable[[Path, ExitStack, str], Running]


def start(names: Sequence[str], known: dict[str, Start], root: Path, stack: ExitStack, own: str) -> list[Running]:
    """Start the named servers, each in a directory of its own; say which cannot be.

    @param root: a directory made for this; every user must get to it.
    """
    running = []
    root.chmod(0o755)  # some of them deliver as another user
    for name in names:
        home = root / name
        home.mkdir(mode=0o755)
        try:
            running.append(known[name](home, stack, own))
        except CannotStart as why:
            print(f"without {name}: {why}", flush=True)
    return running
