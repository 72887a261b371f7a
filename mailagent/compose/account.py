"""Who to log in as, and where the password comes from: a person, a file or a command, never an argument."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import TypeVar

import attrs

from mailagent.smtp.client_auth import Login
from mailagent.smtp.sending_failed import LoginFailed

#: Octets; a longer password is taken for a mistake.
MAX_PASSWORD = 1024
#: Seconds for a command to give the password; a person may have to unlock it.
PATIENCE = 60.0
#: How often a person is asked, all in all: enough for slips, too few for guesses.
PROMPTS = 3
_WRONG = 535  # RFC 4954 section 6: user or password
_Session = TypeVar("_Session")


def _nobody(text: str) -> None:
    """Is told in vain."""


class NoPassword(Exception):
    """There is no password where it should be; the text says why, and never holds what was there instead."""


@attrs.define
class Account:
    """A C{user}, whose password is had from C{ask}: when it is first needed, and again if a server says it is wrong.

    @ivar in_thread: see L{Login}.
    @ivar asking: how many more times C{ask} is worth calling: a file or a command has nothing else to say.
    @ivar tell: is told that a password is wrong, before it is asked for again.
    """

    _user: str
    _ask: Callable[[], Awaitable[str]]
    _in_thread: Callable[[Callable[[], bytes]], Awaitable[bytes]]
    _asking: int = 1
    _tell: Callable[[str], None] = _nobody
    _login: Login | None = attrs.field(default=None, init=False, repr=False)

    async def session(self, open_session: Callable[[Login], Awaitable[_Session]]) -> _Session:
        """What C{open_session} gives with a login that the server takes. Fails as C{ask} does.

        @raise LoginFailed: the server refuses it, and there is no other.
        """
        while True:
            try:
                return await open_session(await self._known())
            except LoginFailed as failure:
                if failure.reply is None or failure.reply.code != _WRONG or not self._asking:
                    raise
                self._tell(failure.reason)
                self._login = None

    async def _known(self) -> Login:
        if self._login is None:
            self._asking -= 1
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
