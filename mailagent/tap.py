"""C{twistd mailagent}: the server's options, and its parts joined. Wiring only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from secrets import randbits
from threading import Thread
from typing import Any

from twisted.application.service import IService
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.threadpool import ThreadPool

from mailagent import log, state, welcome
from mailagent.budget import Budget
from mailagent.config import BUILT_IN, AuthSettings, Config, ConfigError, Overrides, load
from mailagent.directory.current import CurrentDirectory
from mailagent.directory.users import Users
from mailagent.directory.whitelist import Whitelist
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.message_id import message_id
from mailagent.interfaces import StorageFailed
from mailagent.local_door import LocalDoor, user_name
from mailagent.maildir.files import Files
from mailagent.maildir.mailstore import Maildirs
from mailagent.outbound import Outbound, success_notice
from mailagent.policy.login_limits import LoginLimits
from mailagent.reception.drop import Drop
from mailagent.reception.local_submission import LocalSubmission
from mailagent.reception.relay_networks import RelayNetworks
from mailagent.reception.submission import SubmissionRealm
from mailagent.reception.transaction import Reception
from mailagent.reload import Parts, Reload
from mailagent.service import MailAgent
from mailagent.smtp import auth
from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.login import Authentication
from mailagent.smtp.role import LMTP, LOCAL
from mailagent.smtp.tls import ServerTLS
from mailagent.state import PidFile

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
        ["state", None, None, "Directory that holds what the server keeps between runs"],
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

        @raise usage.UsageError: C{--log-format} is neither.
        """
        if self["log-format"] not in log.FORMATS:
            raise usage.UsageError(f"--log-format: {self['log-format']!r}; allowed: {', '.join(log.FORMATS)}")

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
        )


def makeService(options: Options, reactor: Any = None) -> IService:
    """The server, ready to start.

    @raise SystemExit: status 1, the configuration is wrong or the log cannot be written; standard error says how.
    """
    if reactor is None:
        from twisted.internet import reactor

        # Before anything is scheduled. Twisted's own is the wall clock: set back by a day, no timer would end for one.
        reactor.seconds = time.monotonic  # type: ignore[attr-defined]
    try:
        config = load(options["config"], options.overrides)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    try:
        observer = options.observer
    except OSError as error:
        print(f"mailagent: cannot write the log: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    # The file that was read, wherever the process may have gone since; or a search, if there was none.
    source = None if config.source == BUILT_IN else config.source
    return make_service(config, reactor, lambda: load(source, options.overrides), observer)


def make_service(
    config: Config, reactor: Any, load_again: Callable[[], Config], observer: ILogObserver | None = None
) -> MailAgent:
    """Join the parts for a checked configuration.

    @param load_again: reads the configuration for a reload. Blocks; raises L{ConfigError}.
    """
    pool = ThreadPool(minthreads=0, maxthreads=_WRITERS, name="mailstore")
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # a hung disk must not outlast a stop
    in_pool = _in_pool(reactor, pool)
    files = Files()
    directory = CurrentDirectory(Whitelist.from_config(config))
    budget = Budget()
    spool = Mailbox(Address("spool", ""), state.spool(config.state))
    mailstore = Maildirs(files, in_pool, config.hostname, time.time, budget=budget, spool=spool)
    logger = Logger("mailagent")
    networks = RelayNetworks.of(config.relay.networks)
    entropy = partial(randbits, 30)

    def new_message_id() -> str:
        return message_id(int(time.time() * 1_000_000), entropy())

    def listening() -> list[tuple[str, int]]:
        return agent.addresses()

    outbound = Outbound(config, directory, mailstore, new_message_id, listening, reactor, time.time, logger)
    reception = Reception(
        directory,
        mailstore,
        config.hostname,
        time.time,
        entropy,
        queue=outbound,
        relay_networks=networks,
        compose_notice=success_notice(config.hostname, new_message_id, time.time),
    )
    local = LocalSubmission.of(reception, partial(in_pool, user_name))
    tls = ServerTLS(reactor.seconds)
    logins = _logins(config, reception, reactor, in_pool)
    factory = SessionFactory(
        reception,
        config.hostname,
        config.limits,
        reactor,
        tls,
        logins,
        budget,
        reports=reception.queue is not None,
        role_deliveries={LMTP.name: reception.for_lmtp(), LOCAL.name: local},
    )
    parts = Parts(directory, factory, tls, files, networks, logger, outbound.take_up)
    pid_file = PidFile(config.state)
    drop = Drop(os.path.join(config.state, state.DROP), reception, outbound, lambda: factory.limits, user_name)
    door = LocalDoor(reactor, config.state, factory.listener(LOCAL), partial(in_pool, drop.take_all))

    def start() -> None:
        parts.start(config)
        if not pid_file.claim():
            raise StorageFailed(f"another server runs with the state directory {config.state}")
        outbound.prepare()

    def begin() -> None:
        outbound.start()
        door.open()
        reactor.addSystemEventTrigger("before", "shutdown", door.close)

    agent = MailAgent(
        config,
        factory,
        pool,
        reactor,
        prepare=start,
        announce=lambda ports: welcome.announce(config, list(directory.mailboxes()), ports, logger),
        reload=Reload(config, load_again, parts, in_pool),
        observer=observer,
        begin=begin,
        end=outbound.stop,
    )
    return agent


def _logins(
    config: Config, reception: Reception, reactor: Any, look_in_thread: Callable[..., Deferred[Any]]
) -> Authentication | None:
    """What logins are checked with, if a users file is configured."""
    if config.directory.users is None:
        return None
    pool = ThreadPool(minthreads=0, maxthreads=_CHECKERS, name="passwords")
    pool.start()  # no thread runs before the first login, long after twistd has forked
    reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
    users = Users(config.directory.users, _in_pool(reactor, pool), reactor.seconds, look_in_thread)
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
