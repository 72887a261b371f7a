"""C{twistd mailagent}: the server's options, and its parts joined. Wiring only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from secrets import randbits
from typing import Any

from twisted.application.service import IService
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.threadpool import ThreadPool

from mailagent import log, welcome
from mailagent.config import AuthSettings, Config, ConfigError, Overrides, load
from mailagent.directory.users import Users
from mailagent.directory.whitelist import Whitelist
from mailagent.maildir.files import Files
from mailagent.maildir.layout import prepare
from mailagent.maildir.mailstore import Maildirs
from mailagent.policy.login_limits import LoginLimits
from mailagent.reception.submission import SubmissionRealm
from mailagent.reception.transaction import Reception
from mailagent.service import MailAgent
from mailagent.smtp import auth
from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.login import Authentication

#: Threads that write mail. More do not make a disk faster; fewer make one slow file hold up the rest.
_WRITERS = 8
#: Threads that check passwords; each is busy for some 50 ms, and guessing must not take the machine.
_CHECKERS = 2


class Options(usage.Options):
    """Options of C{twistd mailagent}; each given one replaces what the configuration file says."""

    synopsis = "[options]"
    longdesc = "Receive mail for listed hosts and users into Maildirs. See mailagent's docs/configuration.md."
    optParameters = [
        ["config", "c", None, "Configuration file (else ./mailagent.toml, else /etc/mailagent/mailagent.toml)"],
        ["hostname", None, None, "This server's name, for greeting and trace header"],
        ["mailboxes", "m", None, "Directory that holds the mailboxes"],
        ["log-format", None, "text", "How the log is written: text or json"],
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

    def postOptions(self) -> None:
        """Check what configuration does not know of.

        @raise usage.UsageError: C{--log-format} is neither.
        """
        if self["log-format"] not in log.FORMATS:
            raise usage.UsageError(f"--log-format: {self['log-format']!r}; allowed: {', '.join(log.FORMATS)}")

    @property
    def observer(self) -> ILogObserver | None:
        """Where the log goes and in which form; C{None} where twistd was given an observer or syslog."""
        parent: Any = self.parent or {}
        if parent.get("logger") or parent.get("syslog"):
            return None
        return log.observer(self["log-format"], parent.get("logfile"))

    @property
    def overrides(self) -> Overrides:
        """What the command line says about settings."""
        return Overrides(
            hosts=self["hosts"],
            users=self["users"],
            mailboxes=self["mailboxes"],
            listen=self["listen"],
            hostname=self["hostname"],
        )


def makeService(options: Options, reactor: Any = None) -> IService:
    """The server, ready to start.

    @raise SystemExit: status 1, the configuration is wrong; all that is wrong stands on standard error.
    """
    if reactor is None:
        from twisted.internet import reactor
    try:
        config = load(options["config"], options.overrides)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    return make_service(config, reactor, options.observer)


def make_service(config: Config, reactor: Any, observer: ILogObserver | None = None) -> MailAgent:
    """Join the parts for a checked configuration."""
    pool = ThreadPool(minthreads=0, maxthreads=_WRITERS, name="mailstore")
    files = Files()
    directory = Whitelist.from_config(config)
    mailstore = Maildirs(files, _in_pool(reactor, pool), config.hostname, time.time)
    reception = Reception(directory, mailstore, config.hostname, time.time, partial(randbits, 30))
    logins = _logins(config, reception, reactor)
    factory = SessionFactory(reception, config.hostname, config.limits, reactor, authentication=logins)
    logger = Logger("mailagent")
    return MailAgent(
        config,
        factory,
        pool,
        reactor,
        prepare=lambda: prepare(files, directory.mailboxes(), time.time(), logger),
        announce=lambda ports: welcome.announce(config, ports, logger),
        observer=observer,
    )


def _logins(config: Config, reception: Reception, reactor: Any) -> Authentication | None:
    """What logins are checked with, if a users file is configured."""
    if config.directory.users is None:
        return None
    pool = ThreadPool(minthreads=0, maxthreads=_CHECKERS, name="passwords")
    pool.start()  # no thread runs before the first login, long after twistd has forked
    reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
    users = Users(config.directory.users, _in_pool(reactor, pool), reactor.seconds)
    reactor.callWhenRunning(users.refresh)
    realm = SubmissionRealm(reception, users, config.submission.own_addresses)
    return authentication(config.auth, realm, users, reactor.seconds, partial(deferLater, reactor))


def authentication(
    settings: AuthSettings,
    realm: SubmissionRealm,
    users: Users,
    seconds: Callable[[], float],
    pause: Callable[[float], Deferred[None]],
) -> Authentication:
    """How one proves who one is (smtp.auth), who that is (directory) and what it is good for (reception), joined."""
    passwords = {"PLAIN": auth.Plain, "LOGIN": auth.Login}
    return Authentication(
        portal=Portal(realm, [users]),
        mechanisms={"SCRAM-SHA-256": partial(auth.ScramSha256, users.scram), **passwords},
        offer=lambda: [*(["SCRAM-SHA-256"] if users.all_scram else []), *passwords],
        limits=LoginLimits(settings.failures, settings.failure_window, settings.failure_delay, seconds),
        refresh=users.refresh,
        pause=pause,
        plaintext_loopback=settings.plaintext_loopback,
    )


def _in_pool(reactor: Any, pool: ThreadPool) -> Callable[..., Deferred[Any]]:
    return partial(deferToThreadPool, reactor, pool)
