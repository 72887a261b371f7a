"""Sessions counted by several processes together, in memory that all of them see.

Nobody is asked for each connection: a process adds to counters that it alone writes, then reads everybody's. It adds
first, so the limits hold however close two processes come; at worst both turn away who would have been the last one.
When a process ends, however that happens, the owner clears its counters.

Networks have no counters of their own, but share some by a keyed hash, in two rows: a network is counted by the lesser
of its two sums. So a count may be too high, hardly ever, and is never too low; and nobody outside can choose whose
counters he shares.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b

import attrs

from mailagent.config import Limits
from mailagent.envelope.reply import Reply
from mailagent.smtp.admission import TOO_MANY_OF_YOURS, TOO_MANY_SESSIONS, is_counted
from mailagent.smtp.peer import Peer

_KEY = 32
_ROWS, _WIDTH = 2, 32768
#: Counters of one process: all its sessions, then the rows.
_EACH = 1 + _ROWS * _WIDTH
_COUNTER = 4


@attrs.define(eq=False)
class Counts:
    """The memory. C{fd} is its descriptor, for other processes to inherit."""

    fd: int
    _key: bytes
    _counters: memoryview

    @classmethod
    def make(cls, processes: int) -> Counts:
        """New ones, all zero, for so many processes."""
        fd = os.memfd_create("mailagent-sessions", os.MFD_CLOEXEC)
        os.ftruncate(fd, _KEY + processes * _EACH * _COUNTER)
        os.pwrite(fd, os.urandom(_KEY), 0)
        return cls.of(fd)

    @classmethod
    def of(cls, fd: int) -> Counts:
        """Those behind a descriptor."""
        memory = memoryview(mmap.mmap(fd, os.fstat(fd).st_size))
        return cls(fd, bytes(memory[:_KEY]), memory[_KEY:].cast("I"))

    def sum(self, counter: int) -> int:
        """What all processes have at C{counter}."""
        return sum(self._counters[counter::_EACH])

    def add(self, process: int, counters: tuple[int, ...], change: int) -> None:
        """Change some counters of the process that we are."""
        for counter in counters:
            self._counters[process * _EACH + counter] += change

    def clear(self, process: int) -> None:
        """A process has ended: it has no sessions any more."""
        begin = process * _EACH
        self._counters[begin : begin + _EACH] = memoryview(bytes(_EACH * _COUNTER)).cast("I")

    def counters(self, network: str) -> tuple[int, ...]:
        """Those that a network has, one in each row."""
        digest = blake2b(network.encode(), key=self._key, digest_size=_ROWS * 4).digest()
        return tuple(
            1 + row * _WIDTH + int.from_bytes(digest[row * 4 : row * 4 + 4], "little") % _WIDTH for row in range(_ROWS)
        )


@attrs.frozen
class SharedAdmission:
    """L{mailagent.smtp.admission.Admits} for one of several processes: its number is C{process}."""

    _counts: Counts
    _process: int

    def enter(self, peer: Peer, limits: Limits) -> Reply | None:
        """See L{mailagent.smtp.admission.Admits}."""
        counts, networks = self._counts, self._networks(peer)
        counts.add(self._process, (0, *networks), 1)
        refusal = None
        if counts.sum(0) > limits.sessions:
            refusal = TOO_MANY_SESSIONS
        elif networks and min(map(counts.sum, networks)) > limits.sessions_per_network:
            refusal = TOO_MANY_OF_YOURS
        if refusal is not None:
            self.leave(peer)
        return refusal

    def leave(self, peer: Peer) -> None:
        """See L{mailagent.smtp.admission.Admits}."""
        self._counts.add(self._process, (0, *self._networks(peer)), -1)

    def _networks(self, peer: Peer) -> tuple[int, ...]:
        return self._counts.counters(peer.network) if is_counted(peer) else ()
