"""A file of passwords for several servers, as ftp, curl and git know it: C{machine HOST login USER password PASSWORD}.

The standard library's C{netrc} reads it. Of several entries for one machine the last counts, and C{default} is not for
us: a password goes to the server it was written down for. Guarantees: only a file that is closed to others is read;
no error repeats what is in it, as that may be a password.
"""

from __future__ import annotations

from netrc import NetrcParseError, netrc
from pathlib import Path
from stat import S_IMODE, S_ISREG

from mailagent.compose.account import NoPassword
from mailagent.envelope.printable import printable

#: Octets; what is larger is no list of passwords.
MAX_FILE = 64 * 1024
_OF_OTHERS = 0o077


def login_in(file: Path, host: str, user: str | None) -> tuple[str, str]:
    """User and password for the machine C{host}.

    @param user: who it is to be; C{None} for whoever is there.
    @raise NoPassword: there is none.
    """
    try:
        _require_private(file)
        machines = {machine.lower(): entry for machine, entry in netrc(str(file)).hosts.items() if machine != "default"}
        return _login(machines.get(host.lower()), printable(host), user)
    except OSError as error:
        raise NoPassword(f"{file}: {error.strerror}") from None
    except NetrcParseError as error:
        raise NoPassword(f"{file}: near line {error.lineno}: not in the form of a netrc file") from None
    except UnicodeError:
        raise NoPassword(f"{file}: it is not text") from None
    except NoPassword as error:
        raise NoPassword(f"{file}: {error}") from None


def _require_private(file: Path) -> None:
    status = file.stat()
    if not S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
        raise NoPassword(f"it is not a file of at most {MAX_FILE} octets")
    if status.st_mode & _OF_OTHERS:
        raise NoPassword(f"it is open to others (mode {S_IMODE(status.st_mode):04o}); it has to be 0600")


def _login(entry: tuple[str, str, str] | None, host: str, user: str | None) -> tuple[str, str]:
    if entry is None:
        raise NoPassword(f"no entry for machine {host}")
    login, _, password = entry
    if not login:
        raise NoPassword(f"the entry for machine {host} has no login")
    if user not in (None, login):
        raise NoPassword(f"the entry for machine {host} is not for login {printable(user or '')}")
    if not password or "\0" in password:
        raise NoPassword(f"the entry for machine {host} has no password")
    return login, password
