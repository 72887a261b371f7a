"""Who to log in as, and where the password comes from: a person, a file or a command, never an argument."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

import attrs

from mailagent.smtp.client_auth import Login

#: Octets; a longer password is taken for a mistake.
MAX_PASSWORD = 1024
#: Seconds for a command to give the password; a person may have to unlock it.
PATIENCE = 60.0


class NoPassword(Exception):
    """There is no password where it should be; the text says why, and never holds what was there instead."""


@attrs.define
class Account:
    """A C{user}, whose password is had from C{ask} once, when it is first needed.

    @ivar in_thread: see L{Login}.
    """

    _user: str
    _ask: Callable[[], Awaitable[str]]
    _in_thread: Callable[[Callable[[], bytes]], Awaitable[bytes]]
    _login: Login | None = attrs.field(default=None, init=False, repr=False)

    async def login(self) -> Login:
        """What to log in with. Fails as C{ask} does."""
        if self._login is None:
            self._login = Login(self._user, await self._ask(), self._in_thread)
        return self._login


def password_in(file: Path) -> str:
    """The first line of a file.

    @raise NoPassword: there is none to be read.
    """
    try:
        with open(file, "rb") as opened:
            return _first_line(opened.read(MAX_PASSWORD + 2))
    except OSError as error:
        raise NoPassword(f"{file}: {error.strerror}") from None
    except NoPassword as error:
        raise NoPassword(f"{file}: {error}") from None


def password_by(command: str, seconds: float = PATIENCE) -> str:
    """The first line that a command, given to the shell, writes to its standard output. Blocks while that runs.

    The command may talk to the person at the terminal, but not by its standard input: that may be the message.

    @raise NoPassword: the command fails, gives none, or takes longer.
    """
    deadline = time.monotonic() + seconds
    with Popen(["/bin/sh", "-c", command], stdin=DEVNULL, stdout=PIPE, bufsize=0) as process:  # noqa: S603 (the user's own)
        assert process.stdout is not None
        try:
            password = _first_line(_read(process.stdout.fileno(), deadline))
            process.stdout.close()
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, TimeoutExpired):
            raise NoPassword(f"no answer within {seconds:g} s") from None
        finally:
            process.kill()
    if status:
        raise NoPassword(f"it ended with status {status}")
    return password


def _read(descriptor: int, deadline: float) -> bytes:
    """What is written until the end, or too much of it."""
    written = b""
    while len(written) <= MAX_PASSWORD + 1:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        octets = os.read(descriptor, MAX_PASSWORD)
        if not octets:
            break
        written += octets
    return written


def _first_line(octets: bytes) -> str:
    line = octets.partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise NoPassword("no password in its first line")
    if len(line) > MAX_PASSWORD or b"\0" in line:
        raise NoPassword("its first line is no password")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise NoPassword("its first line is not UTF-8") from None
