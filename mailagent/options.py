"""What may stand behind C{twistd mailagent}."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.logger import ILogObserver
from twisted.python import usage

from mailagent import log
from mailagent.config import Overrides


class Options(usage.Options):
    """Options of C{twistd mailagent}; each given one replaces what the configuration file says."""

    synopsis = "[options]"
    longdesc = "Receive mail for listed hosts and users into Maildirs. See mailagent's docs/configuration.md."
    optParameters = [
        ["config", "c", None, "Configuration file (else ./mailagent.toml, else /etc/mailagent/mailagent.toml)"],
        ["hostname", None, None, "This server's name, for greeting and trace header"],
        ["mailboxes", "m", None, "Directory that holds the mailboxes"],
        ["state", None, None, "Directory that holds what the server keeps between runs"],
        ["workers", None, None, "How many processes serve the listeners: a number, or auto for one each processor"],
        ["log-format", None, "text", "How the log is written: text or json"],
        ["log-level", None, "info", "What is logged: info, or debug for all that is said to other servers too"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["hosts"], self["users"], self["listen"] = [], [], []

    def opt_host(self, host: str) -> None:
        """Take mail for this host (may be given several times)"""
        self["hosts"].append(host)

    def opt_user(self, user: str) -> None:
        """Take mail for this user (may be given several times)"""
        self["users"].append(user)

    def opt_listen(self, endpoint: str) -> None:
        """Listen on this Twisted endpoint, such as tcp:2525:interface=127.0.0.1 (may be given several times)"""
        self["listen"].append(endpoint)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, or leave with one line and status 1: twistd itself would print the whole usage before it."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            print(f"twistd mailagent: {error} (--help shows the options)", file=sys.stderr)
            raise SystemExit(1) from None

    def parseArgs(self, *words: str) -> None:
        """There are none.

        @raise usage.UsageError: there are.
        """
        if words:
            raise usage.UsageError(f"unexpected argument: {words[0]}")

    def postOptions(self) -> None:
        """Check what configuration does not know of.

        @raise usage.UsageError: C{--log-format} or C{--log-level} is none.
        """
        for name, allowed in (("log-format", log.FORMATS), ("log-level", log.LEVELS)):
            if self[name] not in allowed:
                raise usage.UsageError(f"--{name}: {self[name]!r}; allowed: {', '.join(allowed)}")
        self._check_pid_file()

    def _check_pid_file(self) -> None:
        """Leave with one line and status 1 where twistd could not write its pid file: it would with a traceback."""
        parent: Any = self.parent or {}
        path = os.path.abspath(os.path.join(parent.get("rundir") or ".", parent.get("pidfile") or ""))
        if not parent.get("pidfile") or parent.get("chroot"):
            return
        if not os.access(path if os.path.exists(path) else os.path.dirname(path), os.W_OK):
            hint = "twistd --pidfile=FILE names another, twistd --pidfile= none"
            print(f"cannot write twistd's pid file {path}: {hint}", file=sys.stderr)
            raise SystemExit(1)

    @property
    def observer(self) -> ILogObserver | None:
        """Where the log goes and in which form; C{None} where twistd was given an observer or syslog.

        As with twistd's own: in the foreground to standard output, else to C{twistd.log}.
        """
        parent: Any = self.parent or {"nodaemon": True}
        if parent.get("logger") or parent.get("syslog"):
            return None
        logfile = parent.get("logfile") or ("-" if parent.get("nodaemon") else "twistd.log")
        if logfile == "-" and not parent.get("nodaemon"):
            print("a daemon cannot log to standard output; name a file: --logfile", file=sys.stderr)
            raise SystemExit(1)
        return log.observer(self["log-format"], logfile)

    @property
    def overrides(self) -> Overrides:
        """What the command line says about settings."""
        return Overrides(
            hosts=self["hosts"],
            users=self["users"],
            mailboxes=self["mailboxes"],
            listen=self["listen"],
            hostname=self["hostname"],
            state=self["state"],
            workers=self["workers"],
        )
