"""A network of its own: namespaces with their own addresses on one bridge, which the machine's network never meets.

The bridge is in a namespace, too, the hub; so the addresses may be the same in every run, and only the names of the
namespaces are drawn. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import attrs

from tests import programs
from tests.peers.server import DEADLINE

#: Where the hub is; its members follow.
HUB = "10.77.0.1"
#: The hub's other address: what is there can be put out of a member's reach.
OUTSIDE = "10.77.0.2"
_FIRST_MEMBER, _BITS = 11, 24
#: The whole of it.
EVERYBODY = "10.77.0.0/24"
#: How the names of namespaces begin; the run's process and something random follow.
_OURS = "mailagent"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _ip(*words: str) -> str:
    command = [programs.path("ip"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def _enter(fd: int) -> None:
    if _LIBC.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@attrs.frozen
class Namespace:
    """A network namespace, by its name for C{ip netns}."""

    name: str

    @classmethod
    def make(cls, name: str) -> Namespace:
        """A new one, in which loopback works.

        @raise OSError: we have no right to make one.
        """
        _ip("netns", "add", name)
        made = cls(name)
        made.ip("link", "set", "lo", "up")
        return made

    def ip(self, *words: str) -> None:
        """Run C{ip} on it."""
        _ip("-n", self.name, *words)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread opens and starts meanwhile is in there: sockets, threads and processes."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            inside = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                _enter(inside)
                yield
            finally:
                os.close(inside)
                _enter(before)
        finally:
            os.close(before)

    def remove(self) -> None:
        """End what still runs in there, and take it away."""
        for pid in map(int, _ip("netns", "pids", self.name).split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _ip("netns", "del", self.name)


@attrs.frozen
class Member:
    """A namespace on the bridge, by one cable.

    @ivar address: its own, on the network.
    """

    namespace: Namespace
    address: str
    _hub: Namespace
    _port: str

    def cut(self) -> None:
        """Pull the cable: nobody is told, and nothing arrives."""
        self._hub.ip("link", "set", self._port, "down")

    def mend(self) -> None:
        """Put it in again."""
        self._hub.ip("link", "set", self._port, "up")

    def lose_the_outside(self) -> None:
        """From now on it reaches what is at the hub, and nothing at L{OUTSIDE}."""
        self.namespace.ip("route", "add", "unreachable", OUTSIDE)


@contextmanager
def network(members: int) -> Iterator[list[Member]]:
    """A hub, in which the calling thread is for as long as the block, and so many members.

    @raise OSError: we have no right to make one.
    """
    _sweep()
    run = f"{_OURS}-{os.getpid()}-{secrets.token_hex(4)}"
    with ExitStack() as stack:

        def make(name: str) -> Namespace:
            made = Namespace.make(f"{run}-{name}")
            stack.callback(made.remove)
            return made

        hub = make("hub")
        hub.ip("link", "add", "bridge", "type", "bridge")
        for address in (HUB, OUTSIDE):
            hub.ip("addr", "add", f"{address}/{_BITS}", "dev", "bridge")
        hub.ip("link", "set", "bridge", "up")
        joined = [_join(hub, make(f"mx{number}"), number) for number in range(1, members + 1)]
        with hub.entered():
            yield joined


def _sweep() -> None:
    """Remove what a run that was killed has left."""
    for name in (line.split()[0] for line in _ip("netns", "list").splitlines()):
        ours, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        if ours == _OURS and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            with suppress(OSError):  # another run has just done so
                Namespace(name).remove()


def _join(hub: Namespace, member: Namespace, number: int) -> Member:
    port, address = f"mx{number}", f"{HUB.rpartition('.')[0]}.{_FIRST_MEMBER + number - 1}"
    hub.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", member.name)
    hub.ip("link", "set", port, "master", "bridge", "up")
    member.ip("addr", "add", f"{address}/{_BITS}", "dev", "eth0")
    member.ip("link", "set", "eth0", "up")
    return Member(member, address, hub, port)
