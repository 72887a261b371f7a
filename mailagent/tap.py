"""C{twistd mailagent}: the server's parts joined. Wiring only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.logger import ILogObserver, Logger

from mailagent import state, welcome
from mailagent.config import BUILT_IN, Config, ConfigError, load
from mailagent.interfaces import IQueue, StorageFailed
from mailagent.local_door import LocalDoor, user_name
from mailagent.log import Output, tell_again
from mailagent.options import Options
from mailagent.outbound import Outbound
from mailagent.parts import Serving, Storage, login_limits, new_message_id, spare_what_stays
from mailagent.reception.drop import Drop
from mailagent.reload import Reload
from mailagent.service import MailAgent
from mailagent.smtp.role import LOCAL
from mailagent.smtp.tls import ServerTLS
from mailagent.state import PidFile
from mailagent.workers.counts import Counts, SharedAdmission
from mailagent.workers.owner import Owner
from mailagent.workers.process import Launch
from mailagent.workers.supervisor import Supervisor


def makeService(options: Options, reactor: Any = None) -> IService:
    """The server, ready to start.

    @raise SystemExit: status 1, the configuration is wrong or the log cannot be written; standard error says how.
    """
    if reactor is None:
        from twisted.internet import reactor

        # Before anything is scheduled. Twisted's own is the wall clock: set back by a day, no timer would end for one.
        reactor.seconds = time.monotonic  # type: ignore[attr-defined]
        reactor.callWhenRunning(spare_what_stays)  # type: ignore[attr-defined]
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
    if isinstance(observer, Output):
        reactor.callWhenRunning(observer.begin)
    # The file that was read, wherever the process may have gone since; or a search, if there was none.
    source = None if config.source == BUILT_IN else config.source
    debug = options["log-level"] == "debug"
    return make_service(config, reactor, lambda: load(source, options.overrides), observer, debug)


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

    def listening() -> list[tuple[str, int]]:
        return agent.addresses()

    log = Logger("mailagent")
    storage = Storage(config, reactor)
    directory, store = storage.directory, storage.mailstore
    outbound = Outbound(config, directory, store, new_message_id, listening, reactor, time.time, log, debug)
    counts = Counts.make(1 + config.workers) if config.workers > 1 else None
    admission = SharedAdmission(counts, 0) if counts else None
    serving = Serving(config, reactor, storage, outbound, admission, taken_up=outbound.take_up, user_name=user_name)
    tls = serving.parts.tls
    supervisor = _supervisor(config, reactor, storage, outbound, counts, tls, observer) if counts else None
    beside = _Beside(config, reactor, storage, serving, outbound)
    agent = MailAgent(
        config,
        serving.sessions,
        storage.threads,
        reactor,
        prepare=beside.prepare,
        announce=lambda ports: welcome.announce(config, list(directory.mailboxes()), ports, log),
        reload=Reload(config, load_again, serving.parts, storage.in_pool, supervisor.agree if supervisor else None),
        observer=observer,
        begin=beside.begin,
        end=outbound.stop,
        processes=supervisor,
    )
    return agent


class _Beside:
    """What the server does beside serving its listeners: it takes mail out, and lets mail in by the local door."""

    def __init__(self, config: Config, reactor: Any, storage: Storage, serving: Serving, outbound: Outbound) -> None:
        sessions, drop_path = serving.sessions, os.path.join(config.state, state.DROP)
        drop = Drop(drop_path, serving.reception, outbound, lambda: sessions.limits, user_name)
        look = partial(storage.in_pool, drop.take_all)
        self._config, self._reactor, self._parts, self._outbound = config, reactor, serving.parts, outbound
        self._door = LocalDoor(reactor, config.state, sessions.listener(LOCAL), look)
        self._following = storage.following

    def prepare(self) -> None:
        """Make ready what is on disk, which is ours alone: a second server would take our work for its own."""
        state.make_directory(self._config.state)
        if not PidFile(self._config.state).claim():
            raise StorageFailed(f"another server runs with the state directory {self._config.state}")
        self._parts.start(self._config)
        self._outbound.prepare()

    def begin(self) -> None:
        """Do it, until the reactor stops."""
        self._outbound.start()
        self._door.open()
        self._reactor.addSystemEventTrigger("before", "shutdown", self._door.close)
        if self._following is not None:
            self._following.start()
            self._reactor.addSystemEventTrigger("before", "shutdown", self._following.stop)


def _supervisor(
    config: Config,
    reactor: Any,
    storage: Storage,
    queue: IQueue,
    counts: Counts,
    tls: ServerTLS,
    observer: ILogObserver | None,
) -> Supervisor:
    """Who looks after the session processes."""
    limits = login_limits(config.auth, reactor.seconds)
    write, log_format = (observer.write, observer.log_format) if isinstance(observer, Output) else (tell_again, "json")
    owner = partial(Owner, storage.mailstore, queue, limits, storage.budget)
    launch = Launch(reactor, owner, counts.fd, log_format, write)
    return Supervisor(config, reactor, launch, counts, tls.in_use)
