"""A real C{twistd mailagent} process under test: started, watched through its log, stopped or killed.

Every wait has a deadline and is ended early by the process's own end, so a test fails and never hangs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
TWISTD = Path(sys.executable).with_name("twistd")
#: Seconds that a process may take for anything before the test fails: far more than it needs on a busy machine.
DEADLINE = 30.0
LOOPBACK = "tcp:0:interface=127.0.0.1"

LogEvent = dict[str, Any]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, with the checkout's plugins in sight."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | changes


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of this machine that nobody has, for programs that cannot be told to choose one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as probe:
        port: int = probe.getsockname()[1]
        return port


def await_listener(address: str, port: int, lives: Callable[[], bool]) -> None:
    """Return as soon as somebody listens there; C{lives} must be true until then."""
    while True:
        assert lives()
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return


class Server:
    """The process that C{command} starts, and what it says.

    @param directory: where it runs; its mailboxes are below.
    """

    def __init__(self, command: Sequence[str], directory: Path, env: Mapping[str, str] | None = None) -> None:
        self.mailboxes = directory / "mailboxes"
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._output: list[str] = []
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=read, daemon=True)
            for read in ((self._process.stdout, self._output), (self._process.stderr, self._errors))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line)
                self._changed.notify_all()
        self._process.wait()
        with self._changed:
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        """The TCP port of its first listener, once it listens."""
        return int(self.wait_for("listening")["address"].rpartition(":")[2])

    @property
    def output(self) -> str:
        """What it has written to standard output."""
        return "".join(self._output)

    @property
    def lines(self) -> list[str]:
        """The same, line by line."""
        return self._output

    @property
    def errors(self) -> str:
        """What it has written to standard error."""
        return "".join(self._errors)

    def events(self, name: str = "") -> list[LogEvent]:
        """The events it has logged, of one name or all."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if name in ("", event["event"])]

    def wait_for(self, name: str, deadline: float = DEADLINE) -> LogEvent:
        """The first event of this name, as soon as it is there."""
        self.wait_until(lambda: bool(self.events(name)), f"event {name!r}", deadline)
        return self.events(name)[0]

    def wait_for_error(self, words: str) -> None:
        """Return as soon as it has written C{words} to standard error."""
        self.wait_until(lambda: words in self.errors, f"{words!r} on standard error")

    def wait_for_output(self, words: str, times: int = 1, deadline: float = DEADLINE) -> None:
        """Return as soon as so many lines with C{words} have come on standard output."""
        read = found = 0

        def happened() -> bool:
            nonlocal read, found
            found += sum(words in line for line in self._output[read:])
            read = len(self._output)
            return found >= times

        self.wait_until(happened, f"{words!r} on standard output, {times} times", deadline)

    def wait_until(self, happened: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
        """Return as soon as something has C{happened}, which is asked after each line that it writes."""
        with self._changed:
            self._changed.wait_for(lambda: happened() or self._ended(), deadline)
        assert happened(), f"no {what}; exit {self._process.poll()}\n{self.output}\n{self.errors}"

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return not self._ended()

    def _ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def stop(self) -> None:
        """End it as an administrator does; it must end well."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0, f"{self.output}\n{self.errors}"

    def kill(self) -> None:
        """End it without giving it a moment, as a power cut does."""
        self._process.kill()
        self.wait()

    def end(self) -> None:
        """Leave nothing behind, whatever has happened."""
        if not self._ended():
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
