"""The password for a next hop, from its file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: What others may not do with it: all; the group may read it, as a server's that has given up root.
_TOO_OPEN = stat.S_IRWXO | stat.S_IWGRP
_MOST = 1024  # octets


class PasswordUnusable(Exception):
    """There is no password to be had; the text says why, and never quotes it."""


def read_password(path: Path) -> str:
    """The first line of a file. Blocks.

    @raise PasswordUnusable: it cannot be read, others may read it, it is empty, or no text.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PasswordUnusable(f"{path} is not a file")
            if status.st_mode & _TOO_OPEN:
                raise PasswordUnusable(f"others may read {path} or change it; chmod 600 {path}")
            line = file.readline(_MOST).rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise PasswordUnusable(f"{path} is not UTF-8") from None
    except OSError as error:
        raise PasswordUnusable(f"{path} cannot be read: {error.strerror}") from None
    if not line:
        raise PasswordUnusable(f"the first line of {path} is empty")
    return line
