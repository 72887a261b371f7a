"""C{twistd mailagent}: the server's parts joined. Wiring only."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
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
from twisted.python.threadpool import ThreadPool

from mailagent import state, welcome
from mailagent.budget import Budget
from mailagent.config import BUILT_IN, AuthSettings, Config, ConfigError, load
from mailagent.directory.current import CurrentDirectory
from mailagent.directory.users import Users
from mailagent.directory.whitelist import Whitelist
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.message_id import message_id
from mailagent.interfaces import StorageFailed
from mailagent.local_door import LocalDoor, user_name
from mailagent.maildir.files import Files
from mailagent.maildir.group_commit import SpreadOverThreads
from mailagent.maildir.mailstore import Maildirs
from mailagent.options import Options
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


def makeService(options: Options, reactor: Any = None) -> IService:
    """The server, ready to start.

    @raise SystemExit: status 1, the configuration is wrong or the log cannot be written; standard error says how.
    """
    if reactor is None:
        from twisted.internet import reactor

        # Before anything is scheduled. Twisted's own is the wall clock: set back by a day, no timer would end for one.
        reactor.seconds = time.monotonic  # type: ignore[attr-defined]
        reactor.callWhenRunning(_spare_what_stays)  # type: ignore[attr-defined]
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
    debug = options["log-level"] == "debug"
    return make_service(config, reactor, lambda: load(source, options.overrides), observer, debug)


def _spare_what_stays() -> None:
    """Keep the garbage collector from what the start has made: to look through it costs all sessions a tenth of a
    second, every few hundred messages, and it finds nothing."""
    gc.collect()
    gc.freeze()


def make_service(
    config: Config,
    reactor: Any,
    load_again: Callable[[], Config],
    observer: ILogObserver | None = None,
    debug: bool = False,
) -> MailAgent:
    """Join the parts for a checked configuration.

    @param load_again: reads the configuration for a reload. Blocks; raises L{ConfigError}.
    @param debug: whether the log gets all that is said to other servers.
    """
    pool = _writers()
    in_pool = _in_pool(reactor, pool)
    log = Logger("mailagent")
    directory = CurrentDirectory(Whitelist.from_config(config))
    networks = RelayNetworks.of(config.relay.networks)
    budget, files, tls = Budget(), Files(), ServerTLS(reactor.seconds)
    spool = Mailbox(Address("spool", ""), state.spool(config.state))
    spread = SpreadOverThreads(pool.callInThread, _WRITERS // 2)
    mailstore = Maildirs(files, in_pool, config.hostname, time.time, budget=budget, spool=spool, spread=spread)
    outbound = Outbound(
        config, directory, mailstore, _new_message_id, lambda: agent.addresses(), reactor, time.time, log, debug
    )
    reception = Reception(
        directory,
        mailstore,
        config.hostname,
        time.time,
        _entropy,
        queue=outbound,
        relay_networks=networks,
        compose_notice=success_notice(config.hostname, _new_message_id, time.time),
    )
    factory = _sessions(config, reception, reactor, in_pool, tls, budget)
    drop = Drop(os.path.join(config.state, state.DROP), reception, outbound, lambda: factory.limits, user_name)
    door = LocalDoor(reactor, config.state, factory.listener(LOCAL), partial(in_pool, drop.take_all))
    parts = Parts(directory, factory, tls, files, networks, log, outbound.take_up)
    agent = MailAgent(
        config,
        factory,
        pool,
        reactor,
        prepare=partial(_prepare, config, parts, outbound),
        announce=lambda ports: welcome.announce(config, list(directory.mailboxes()), ports, log),
        reload=Reload(config, load_again, parts, in_pool),
        observer=observer,
        begin=partial(_begin, outbound, door, reactor),
        end=outbound.stop,
    )
    return agent


def _prepare(config: Config, parts: Parts, outbound: Outbound) -> None:
    """Make ready what is on disk, which is ours alone: a second server would take our work for its own."""
    state.make_directory(config.state)
    if not PidFile(config.state).claim():
        raise StorageFailed(f"another server runs with the state directory {config.state}")
    parts.start(config)
    outbound.prepare()


def _begin(outbound: Outbound, door: LocalDoor, reactor: Any) -> None:
    outbound.start()
    door.open()
    reactor.addSystemEventTrigger("before", "shutdown", door.close)


def _sessions(
    config: Config,
    reception: Reception,
    reactor: Any,
    in_pool: Callable[..., Deferred[Any]],
    tls: ServerTLS,
    budget: Budget,
) -> SessionFactory:
    """What makes the sessions of all listeners."""
    local = LocalSubmission.of(reception, partial(in_pool, user_name))
    return SessionFactory(
        reception,
        config.hostname,
        config.limits,
        reactor,
        tls,
        _logins(config, reception, reactor, in_pool),
        budget,
        reports=reception.queue is not None,
        role_deliveries={LMTP.name: reception.for_lmtp(), LOCAL.name: local},
    )


def _writers() -> ThreadPool:
    """The threads that write mail: daemons, as a hung disk must not outlast a stop."""
    pool = ThreadPool(minthreads=0, maxthreads=_WRITERS, name="mailstore")
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    return pool


def _new_message_id() -> str:
    return message_id(int(time.time() * 1_000_000), _entropy())


def _entropy() -> int:
    return randbits(30)


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
