"""What serves sessions, joined: the same parts whether one process does it all, or several share the listeners.

Where mail for elsewhere goes (L{IQueue}), who is let in (L{Admits}) and whose logins are checked
(L{mailagent.smtp.login.Limits}) is given from outside: with several processes, all of them count together.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from secrets import randbits
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailagent import certificates, state
from mailagent.budget import Budget
from mailagent.config import AuthSettings, Config, Listener
from mailagent.config.values import DATABASE
from mailagent.directory.current import CurrentDirectory
from mailagent.directory.logins import Logins
from mailagent.directory.stored import UnknownDirectory
from mailagent.directory.users import Users
from mailagent.directory.whitelist import Whitelist
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.message_id import message_id
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.queued import QueuedMessage
from mailagent.interfaces import IMailstore, IQueue
from mailagent.maildir.files import FileLayer, Files
from mailagent.maildir.group_commit import Lane, SpreadOverThreads
from mailagent.maildir.layout import make_missing, prepare
from mailagent.maildir.mailstore import Maildirs
from mailagent.policy.login_limits import LoginLimits
from mailagent.queue.items import DELIVERED, QueuedRecipient, Settlement, StoredMessage
from mailagent.queue.notification import notifications
from mailagent.queue.report import compose
from mailagent.queue.returned import returned_header
from mailagent.reception.dispatch import ComposeNotice
from mailagent.reception.local_submission import LocalSubmission
from mailagent.reception.relay_networks import RelayNetworks
from mailagent.reception.submission import SubmissionRealm
from mailagent.reception.transaction import Reception
from mailagent.smtp import auth
from mailagent.smtp.admission import Admits
from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.login import Authentication, Limits
from mailagent.smtp.proxied import ProxiedFactory, Proxies
from mailagent.smtp.role import LMTP, LOCAL, ROLES
from mailagent.smtp.tls import ServerTLS, read
from mailagent.stored_directory.following import Following
from mailagent.threads import DaemonThreads, Together

#: Threads that write mail. More do not make a disk faster; fewer make one slow file hold up the rest.
_WRITERS = 8
#: Batches of small messages that there may be at the same time, all but one on a disk that hangs; each has as many
#: threads, made when they are needed.
_LANES = 4
#: Threads that check passwords; each is busy for some 50 ms, and guessing must not take the machine.
_CHECKERS = 2


@attrs.frozen
class Parts:
    """Those parts of a process that follow the configuration as it changes.

    @ivar taken_up: called with what is put in place, for parts that look at it again and again.
    @ivar following: puts the directory in place, where it is the database's.
    """

    directory: CurrentDirectory
    sessions: SessionFactory
    tls: ServerTLS
    files: FileLayer
    networks: RelayNetworks
    log: Logger
    taken_up: Callable[[Config], None] = lambda config: None
    following: Following | None = None

    def start(self, config: Config) -> None:
        """Make mailboxes and certificates ready; a certificate is made where there is none. The state directory is
        there. Blocks.

        @raise MailboxUnwritable: a mailbox cannot be made or written.
        @raise StorageFailed: the directory cannot be read.
        @raise CertificateUnusable: a certificate or key cannot be used.
        """
        if self.following is None:
            prepare(self.files, self.directory.mailboxes(), time.time(), self.log)
        else:
            self.following.prepare()
        self.tls.use(read(certificates.plan(config, datetime.now(UTC))))

    def make_ready(self, config: Config) -> Callable[[], None]:
        """Read and make what a changed configuration needs, and put nothing in place yet. Blocks.

        @return: puts it in place; for the reactor's thread.
        @raise Exception: as L{start}.
        """
        found = read(certificates.plan(config, datetime.now(UTC)))
        use_directory = self._directory_ready(config)

        def put_in_place() -> None:
            use_directory()
            self.sessions.limits = config.limits
            self.networks.take_up(config.relay.networks)
            self.taken_up(config)
            self.tls.use(found)

        return put_in_place

    def _directory_ready(self, config: Config) -> Callable[[], None]:
        if self.following is not None:
            return partial(self.following.take_up, config)
        whitelist = Whitelist.from_config(config)
        known = {mailbox.path for mailbox in self.directory.mailboxes()}
        new = [mailbox for mailbox in whitelist.mailboxes() if mailbox.path not in known]
        prepare(self.files, new, time.time(), self.log)
        return partial(setattr, self.directory, "current", whitelist)


class Storage:
    """Where mail goes on this machine, and the threads that write it.

    @ivar threads: those threads, all of them.
    @ivar in_pool: calls a function with arguments in one of them; a C{Deferred} of its result.
    @ivar following: looks after C{directory}, where that is the database's; whose C{logins} are told who may log in.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        pool = DaemonThreads("mailstore", _WRITERS, reactor)
        batches = [DaemonThreads("batch", _WRITERS, reactor) for _ in range(_LANES)]
        self.threads = Together([pool, *batches])
        self.in_pool = pool.run
        stored = config.directory.source == DATABASE
        self.directory = CurrentDirectory(UnknownDirectory() if stored else Whitelist.from_config(config))
        self.files = Files()
        self.following: Following | None = None
        if stored:
            make = partial(make_missing, self.files)
            logins = Logins(_password_threads(reactor))
            self.following = Following(config, self.directory, logins, make, self.in_pool, reactor)
        self.budget = Budget(shares=config.workers + 1 if config.workers > 1 else 1)  # the owner of the queue has one
        spool = Mailbox(Address("spool", ""), state.spool(config.state))
        self.mailstore: IMailstore = Maildirs(
            self.files,
            self.in_pool,
            config.hostname,
            time.time,
            budget=self.budget,
            spool=spool,
            spread=_spread(pool),
            lanes=[Lane(each.run, _spread(each)) for each in batches],
            call_later=reactor.callLater,
        )


def _spread(threads: DaemonThreads) -> SpreadOverThreads:
    return SpreadOverThreads(threads.call_in_thread, _WRITERS)


class Serving:
    """Sessions, and what they need.

    @param queue: where mail for elsewhere goes.
    @param admission: who is let in; by default, counted here.
    @param login_limits: who has failed to log in; by default, counted here.
    @param taken_up: see L{Parts}.
    @param user_name: a local user's name from the number, for the local socket. Blocks.
    @ivar reception: whose transactions are the sessions'.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        storage: Storage,
        queue: IQueue,
        admission: Admits | None = None,
        login_limits: Limits | None = None,
        taken_up: Callable[[Config], None] = lambda config: None,
        user_name: Callable[[int], str] = str,
    ) -> None:
        self.networks = RelayNetworks.of(config.relay.networks)
        self.reception = Reception(
            storage.directory,
            storage.mailstore,
            config.hostname,
            time.time,
            _entropy,
            queue=queue,
            relay_networks=self.networks,
            compose_notice=success_notice(config.hostname, new_message_id, time.time),
        )
        tls = ServerTLS(reactor.seconds)
        self.sessions = SessionFactory(
            self.reception,
            config.hostname,
            config.limits,
            reactor,
            tls,
            _logins(config, self.reception, reactor, storage, login_limits),
            storage.budget,
            reports=True,
            role_deliveries={
                LMTP.name: self.reception.for_lmtp(),
                LOCAL.name: LocalSubmission.of(self.reception, partial(storage.in_pool, user_name)),
            },
            admission=admission,
        )
        log = Logger("mailagent")
        self.parts = Parts(
            storage.directory, self.sessions, tls, storage.files, self.networks, log, taken_up, storage.following
        )


def listener_factory(sessions: SessionFactory, listener: Listener, clock: Any) -> IProtocolFactory:
    """What makes the protocols of one listener's connections."""
    factory = sessions.listener(ROLES[listener.role], Proxies.of(listener.xclient))
    if listener.proxies:  # outermost: a proxy's header comes before TLS
        return ProxiedFactory(factory, Proxies.of(listener.proxies), clock)
    return factory


def spare_what_stays() -> None:
    """Keep the garbage collector from what the start has made: to look through it costs all sessions a tenth of a
    second, every few hundred messages, and it finds nothing."""
    gc.collect()
    gc.freeze()


def new_message_id() -> str:
    """An identifier that nothing else has."""
    return message_id(int(time.time() * 1_000_000), _entropy())


def success_notice(hostname: str, new_message_id: Callable[[], str], seconds: Callable[[], float]) -> ComposeNotice:
    """What writes notices of success for mail that came in."""

    def notice(message: QueuedMessage, outcomes: Sequence[Outcome], beginning: bytes) -> tuple[QueuedMessage, bytes]:
        now = seconds()
        stored = StoredMessage(message.id, now, message.envelope, message.header, 0, message.report_to)
        settlements = [
            Settlement(QueuedRecipient(0, each.recipient, message.envelope.wishes(each.recipient)), each, DELIVERED)
            for each in outcomes
        ]
        told = notifications(stored, settlements, now, 0.0)
        return compose(stored, told, returned_header(message.header + beginning), hostname, new_message_id(), now)

    return notice


def _entropy() -> int:
    return randbits(30)


def login_limits(settings: AuthSettings, seconds: Callable[[], float]) -> LoginLimits:
    """Failed logins, counted as configured."""
    return LoginLimits(settings.failures, settings.failure_window, settings.failure_delay, seconds)


def _logins(
    config: Config, reception: Reception, reactor: Any, storage: Storage, limits: Limits | None
) -> Authentication | None:
    """What logins are checked with, if a users file is configured, or the database names the users."""
    if storage.following is not None:
        users: Logins = storage.following.logins
    elif config.directory.users is not None:
        users = Users(config.directory.users, _password_threads(reactor), reactor.seconds, storage.in_pool)
        reactor.callWhenRunning(users.refresh)
    else:
        return None
    realm = SubmissionRealm(reception, users, config.submission.own_addresses)
    return authentication(config.auth, realm, users, reactor.seconds, partial(deferLater, reactor), limits)


def _password_threads(reactor: Any) -> Callable[..., Deferred[Any]]:
    pool = DaemonThreads("passwords", _CHECKERS, reactor)
    reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
    return pool.run


def authentication(
    settings: AuthSettings,
    realm: SubmissionRealm,
    users: Logins,
    seconds: Callable[[], float],
    pause: Callable[[float], Deferred[None]],
    limits: Limits | None = None,
) -> Authentication:
    """How one proves who one is (smtp.auth), who that is (directory) and what it is good for (reception), joined."""
    passwords = {"PLAIN": auth.Plain, "LOGIN": auth.Login}
    return Authentication(
        portal=Portal(realm, [users]),
        mechanisms={"SCRAM-SHA-256": partial(auth.ScramSha256, users.scram), **passwords},
        offer=lambda: [*(["SCRAM-SHA-256"] if users.all_scram else []), *passwords],
        limits=limits or login_limits(settings, seconds),
        refresh=users.refresh,
        pause=pause,
        plaintext_loopback=settings.plaintext_loopback,
    )
