"""A program on a pseudo-terminal, and what a person would see and type there."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_U = "\x15"
ENTER = "\r"

_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?=>]*[A-Za-z]|[=>78]|\][^\x07]*\x07)")


def _begin_session(ignore_hang_up: bool) -> None:
    """In the child: take the terminal for its own, and perhaps begin as nohup lets programs begin."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if ignore_hang_up:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Terminal:
    """Runs C{command}. Whatever a test waits for must come before C{deadline} seconds have passed altogether."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        deadline: float = 30.0,
        ignore_hang_up: bool = False,
    ) -> None:
        self._master, slave = os.openpty()
        self._fresh_attributes = self.attributes
        self._until = time.monotonic() + deadline
        self._seen = ""
        self._raw = b""
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=lambda: _begin_session(ignore_hang_up),
        )
        self._open = True
        self._slave = slave  # held open: the attributes are looked at when the program is gone

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the window."""
        if self._open:
            self._open = False
            os.close(self._slave)
            os.close(self._master)

    @property
    def screen(self) -> str:
        """All that was shown so far, escape sequences removed."""
        return _ESCAPE.sub("", self._raw.decode("utf-8", "replace")).replace("\r", "")

    @property
    def attributes(self) -> list[Any]:
        """The terminal's settings."""
        return termios.tcgetattr(self._master)

    @property
    def as_found(self) -> bool:
        """Whether the terminal has the settings it had at the start."""
        return self.attributes == self._fresh_attributes

    def expect(self, text: str) -> None:
        """Read until C{text} is shown, after whatever was expected before."""
        while text not in self.screen[len(self._seen) :]:
            assert self._read(), f"{text!r} was not shown, but: {self.screen!r}"
        end = self.screen.index(text, len(self._seen)) + len(text)
        self._seen = self.screen[:end]

    def type(self, *keys: str) -> None:
        """Press keys."""
        os.write(self._master, "".join(keys).encode())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        self.process.send_signal(number)

    def status(self) -> int:
        """Wait for the program's end, reading on; its exit status as C{subprocess} gives it."""
        while self.process.poll() is None and self._read(0.02):
            pass
        self._read(0.0)
        return self.process.wait(max(0.0, self._until - time.monotonic()))

    def _read(self, patience: float | None = None) -> bool:
        """Take what is shown; false when time is up, or the program and its output have ended."""
        left = self._until - time.monotonic()
        ready, _, _ = select.select([self._master], [], [], max(0.0, left if patience is None else min(patience, left)))
        if ready:
            self._raw += os.read(self._master, 65536)
        return left > 0 and (bool(ready) or self.process.poll() is None)
