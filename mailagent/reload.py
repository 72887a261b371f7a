"""A changed configuration taken up by the running server, without dropping a session.

What can be relied on:

  1. All or nothing: the whole of it is read, checked and made ready in a thread, and only then put in place.
  2. Sessions keep the limits and the certificate they began with; the whitelist is new for the next RCPT.
  3. The log tells what changed, what needs a restart, or all that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailagent import certificates, state
from mailagent import log as events
from mailagent.config import Config, ConfigError
from mailagent.config.changes import Changes, changes
from mailagent.directory.current import CurrentDirectory
from mailagent.directory.whitelist import Whitelist
from mailagent.interfaces import MailboxUnwritable
from mailagent.maildir.files import FileLayer
from mailagent.maildir.layout import prepare
from mailagent.reception.relay_networks import RelayNetworks
from mailagent.smtp.certificate import CertificateUnusable
from mailagent.smtp.factory import SessionFactory
from mailagent.smtp.tls import ServerTLS, read

#: Runs a job in a thread; what it returns, or fails with, comes by the C{Deferred}.
InThread = Callable[[Callable[[], "Ready"]], Deferred["Ready"]]


@attrs.frozen
class Parts:
    """Those parts of the server that follow the configuration as it changes.

    @ivar taken_up: called with what is put in place, for parts that look at it again and again.
    """

    directory: CurrentDirectory
    sessions: SessionFactory
    tls: ServerTLS
    files: FileLayer
    networks: RelayNetworks
    log: Logger
    taken_up: Callable[[Config], None] = lambda config: None

    def start(self, config: Config) -> None:
        """Make mailboxes, state directory and certificates ready. Blocks.

        @raise MailboxUnwritable: a mailbox cannot be made or written.
        @raise CertificateUnusable: a certificate or key cannot be used.
        @raise OSError: the state directory cannot be written.
        """
        prepare(self.files, self.directory.mailboxes(), time.time(), self.log)
        state.make_directory(config.state)
        self.tls.use(read(certificates.plan(config, datetime.now(UTC))))

    def make_ready(self, config: Config) -> Callable[[], None]:
        """Read and make what a changed configuration needs, and put nothing in place yet. Blocks.

        @return: puts it in place; for the reactor's thread.
        @raise Exception: as L{start}.
        """
        whitelist = Whitelist.from_config(config)
        found = read(certificates.plan(config, datetime.now(UTC)))
        known = {mailbox.path for mailbox in self.directory.mailboxes()}
        new = [mailbox for mailbox in whitelist.mailboxes() if mailbox.path not in known]
        prepare(self.files, new, time.time(), self.log)

        def put_in_place() -> None:
            self.directory.current = whitelist
            self.sessions.limits = config.limits
            self.networks.take_up(config.relay.networks)
            self.taken_up(config)
            self.tls.use(found)

        return put_in_place


@attrs.frozen
class Ready:
    """A changed configuration, ready to be put in place."""

    changes: Changes
    put_in_place: Callable[[], None]


class Reload:
    """Call it to have the configuration read again. While that goes on, further calls become one, after it.

    @param config: what runs now.
    @param load: reads the configuration as it was read at the start. Blocks; raises L{ConfigError}.
    """

    def __init__(self, config: Config, load: Callable[[], Config], parts: Parts, in_thread: InThread) -> None:
        self._config = config
        self._load = load
        self._parts = parts
        self._in_thread = in_thread
        self._running = False
        self._again = False

    def __call__(self) -> None:
        if self._running:
            self._again = True
            return
        self._running = True
        self._in_thread(self._read).addCallbacks(self._take_up, self._refuse).addBoth(self._done)

    def _read(self) -> Ready:
        found = changes(self._config, self._load())
        return Ready(found, self._parts.make_ready(found.config))

    def _take_up(self, ready: Ready) -> None:
        ready.put_in_place()
        found = ready.changes
        self._config = found.config
        events.RELOADED(self._parts.log, source=self._config.source, changed=found.taken or "nothing")
        if found.waiting:
            events.RESTART_NEEDED(self._parts.log, settings=found.waiting)

    def _refuse(self, failure: Failure) -> None:
        error = failure.value
        expected = isinstance(error, ConfigError | CertificateUnusable | MailboxUnwritable | OSError)
        for reason in str(error).splitlines() if expected else [repr(error)]:
            events.RELOAD_REFUSED(self._parts.log, reason=reason)

    def _done(self, result: object) -> None:
        if isinstance(result, Failure):
            events.ERROR(self._parts.log, what="taking up the configuration", reason=repr(result.value))
        self._running = False
        if self._again:
            self._again = False
            self()
