"""The directory in force, as the database has it: looked at every two seconds, taken up whole.

One cheap query tells whether anything has changed; if so all of it is read, put together and its new mailboxes are
made, in a thread, and only then it takes the place of the old one, which is let go. While the database is away the last
one serves on, and the log says so once. A row or a mailbox that cannot be used is said, and stops nothing else.

Where no host is stored nothing is known: it may be the wrong database, or one that was made anew, and mail for
everybody is put off instead of refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.config import Config
from mailagent.database.engine import database_url, for_reading, for_writing
from mailagent.database.migration import migrate
from mailagent.database.node import node_id
from mailagent.database.trouble import trouble
from mailagent.directory.current import CurrentDirectory
from mailagent.directory.logins import Logins
from mailagent.directory.stored import Aside, Stored, StoredDirectory, UnknownDirectory, names_by_table
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable, StorageFailed
from mailagent.stored_directory import rows
from mailagent.stored_directory.mailboxes import NewMailboxes

#: Seconds from one look to the next.
EVERY = 2.0
#: Rows set aside of which the log tells at a time.
_MOST_TOLD = 20


@attrs.frozen
class _Found:
    """What a look has found: what is stored, for which configuration, and what takes it up."""

    stored: Stored
    config: Config
    directory: StoredDirectory | UnknownDirectory
    take_up_logins: Callable[[], None]


class Following:
    """See the module.

    @param directory: whose C{current} is replaced.
    @param make_ready: makes mailboxes that are new. Blocks; yields what is wrong with those that it could not make.
    @param run_in_thread: calls a blocking function in a pool of threads; gives a C{Deferred} of its result.
    @ivar logins: are told who may log in.
    """

    def __init__(
        self,
        config: Config,
        directory: CurrentDirectory,
        logins: Logins,
        make_ready: Callable[[Iterable[Mailbox]], Iterable[MailboxUnwritable]],
        run_in_thread: Callable[..., Deferred[Any]],
        clock: Any,
    ) -> None:
        self.logins = logins
        self._config = config
        self._directory = directory
        self._new = NewMailboxes(make_ready)
        self._run = run_in_thread
        self._log = Logger("mailagent")
        self._engine: sa.Engine | None = None
        self._taken: _Found | None = None
        self._lost = False
        self._stopped = False
        self._looking = LoopingCall(self._look_in_thread)
        self._looking.clock = clock

    def prepare(self) -> None:
        """Bring the tables to this version, and take up what they hold. Blocks: for the time before the reactor runs.

        @raise StorageFailed: the database is away, or not one of ours; the text says why.
        """
        try:
            engine = for_writing(self._url())
        except ValueError as error:
            raise StorageFailed(f"directory: {error}") from None
        try:
            migrate(engine, node_id(self._config.state, os.urandom(16)))
        finally:
            engine.dispose()
        self._take_up(self._look(None, self._config))
        self._close()  # its connections would not outlive twistd's fork

    def start(self) -> Deferred[None]:
        """Begin to look, every two seconds.

        @return: fires after the first look, whatever has come of it.
        """
        return self._look_in_thread().addCallback(self._look_on)

    def _look_on(self, _: None) -> None:
        if not self._stopped:
            self._looking.start(EVERY, now=False)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._looking.running:
            self._looking.stop()
        self._close()

    def take_up(self, config: Config) -> None:
        """Go by this configuration from the next look on."""
        self._config = config

    def _url(self) -> sa.URL:
        return database_url(self._config.directory.url or self._config.queue.url, self._config.state)

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    # In a thread

    def _look(self, taken: _Found | None, config: Config) -> _Found | None:
        """What is new, if anything is. @raise StorageFailed: the database is away."""
        if self._engine is None:
            self._engine = for_reading(self._url())
        with trouble(), self._engine.begin() as connection:
            same = taken and taken.config is config and rows.version(connection) == taken.stored.version
            read = None if same else rows.read(connection)
        if read is None:
            self._new.try_again()
            return None
        stored = Stored.of(read, config.hostname)
        del read
        self._tell(stored, frozenset(taken.stored.aside) if taken else frozenset())
        directory = StoredDirectory.of(stored, config)
        self._new.make(directory.mailboxes(), {mailbox.path for mailbox in self._directory.mailboxes()})
        in_force = directory if stored.names.hosts else UnknownDirectory("no host is in the directory")
        return _Found(stored, config, in_force, self.logins.make_ready(stored.logins))

    def _tell(self, stored: Stored, before: frozenset[Aside]) -> None:
        fresh: Sequence[Aside] = [aside for aside in stored.aside if aside not in before]
        for aside in fresh[:_MOST_TOLD]:
            events.DIRECTORY_SET_ASIDE(self._log, what=aside.what, reason=aside.why)
        if len(fresh) > _MOST_TOLD:
            more = f"{len(fresh) - _MOST_TOLD} more rows"
            events.DIRECTORY_SET_ASIDE(self._log, what=more, reason="for reasons like these")

    # In the reactor's thread

    def _look_in_thread(self) -> Deferred[None]:
        looking = self._run(self._look, self._taken, self._config)
        return looking.addCallback(self._found).addErrback(self._keep)

    def _found(self, found: _Found | None) -> None:
        if self._lost:
            self._lost = False
            events.DIRECTORY_RECOVERED(self._log)
        self._take_up(found)

    def _take_up(self, found: _Found | None) -> None:
        if found is None:
            return
        self._taken = found
        self._directory.current = found.directory
        found.take_up_logins()
        names = names_by_table(found.stored.names).values()
        users = sum(len(each.settings.users) for each in names)
        aliases = sum(len(each.settings.aliases) for each in names)
        events.DIRECTORY_READ(self._log, hosts=len(found.stored.names.hosts), users=users, aliases=aliases)
        if not found.stored.names.hosts:
            events.DIRECTORY_EMPTY(self._log)

    def _keep(self, failure: Failure) -> None:
        if not self._lost:
            self._lost = True
            meanwhile = "what was read last serves on" if self._taken else "mail for everybody has to wait"
            reason = str(failure.value) if failure.check(StorageFailed) else repr(failure.value)
            events.DIRECTORY_TROUBLE(self._log, meanwhile=meanwhile, reason=reason)
