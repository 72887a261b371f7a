"""What a power cut may leave of a SQLite database: its file, and its write-ahead log (WAL).

The file itself changes in a checkpoint alone, after what it takes over was synced in the log. Of the log there is what
was synced; what was written since may be there as well, in part: up to any octet, or any of its sectors. The index of
the log (C{-shm}) is memory, and gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import attrs

_SECTOR = 512


@attrs.frozen
class Disk:
    """The octets of a database's files."""

    database: bytes
    log: bytes

    @classmethod
    def of(cls, file: Path) -> Disk:
        """As they are now, in the system's cache."""
        log = _log(file)
        return cls(file.read_bytes(), log.read_bytes() if log.exists() else b"")

    def put(self, file: Path) -> None:
        """Have a database's files be these."""
        file.write_bytes(self.database)
        _log(file).write_bytes(self.log)

    def torn(self, synced: Disk, random: Random, count: int) -> Iterator[Disk]:
        """What may be there when the power goes while these octets follow the C{synced} ones: the old ones, all of the
        new log, and C{count} each of what is cut off at an octet, and mixed of old and new sectors."""
        yield synced
        yield attrs.evolve(synced, log=self.log)
        first = next((n for n, pair in enumerate(zip(synced.log, self.log, strict=False)) if pair[0] != pair[1]), None)
        start = min(len(synced.log), len(self.log)) if first is None else first
        for _ in range(count if start < len(self.log) else 0):
            cut = random.randrange(start, len(self.log))
            yield attrs.evolve(synced, log=self.log[:cut] + synced.log[cut:])
            yield attrs.evolve(synced, log=_mixed(synced.log, self.log, start, random))


def _mixed(old: bytes, new: bytes, start: int, random: Random) -> bytes:
    old = old.ljust(len(new), b"\0")
    sectors = range(start // _SECTOR * _SECTOR, len(new), _SECTOR)
    mixed = (random.choice((old, new))[sector : sector + _SECTOR] for sector in sectors)
    return new[: sectors.start] + b"".join(mixed) + old[len(new) :]


def _log(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")
