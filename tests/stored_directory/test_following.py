"""The directory in force follows the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import pytest
from twisted.internet.task import Clock

from mailagent.config import Config
from mailagent.config.outbound import QueueSettings
from mailagent.config.values import ConfiguredPath, Domain, Url
from mailagent.directory.current import CurrentDirectory
from mailagent.directory.logins import Logins
from mailagent.directory.stored import UnknownDirectory
from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable, StorageFailed
from mailagent.stored_directory import changing
from mailagent.stored_directory.following import EVERY, Following
from tests.database.support import Database
from tests.directory.test_users_file import SCRAM
from tests.maildir.support import Events, logged, run_now

ANN = Address("ann", "example.org")


@attrs.define
class Bench:
    database: Database
    directory: CurrentDirectory
    following: Following
    clock: Clock
    events: Events
    made: list[str]

    def change(self, change: changing.Change) -> None:
        self.database.write(changing.make, "mx.example.org", change)

    def add_ann(self) -> None:
        self.change(changing.add_host("example.org", shared=False))
        self.change(changing.add_user("ann@example.org", str(SCRAM)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    config = Config(
        hostname=Domain("mx.example.org"),
        state=ConfiguredPath(str(tmp_path)),
        queue=QueueSettings(url=Url("sqlite:///queue.db")),
    )
    clock, directory, made = Clock(), CurrentDirectory(UnknownDirectory()), list[str]()

    def make(mailboxes: Iterable[Mailbox]) -> Iterator[MailboxUnwritable]:
        for mailbox in mailboxes:
            made.append(mailbox.path)
            if len(made) == 1:
                yield MailboxUnwritable(mailbox, "not at first")

    following = Following(config, directory, Logins(run_now), make, run_now, clock)
    try:
        with logged() as events, Database(tmp_path) as database:
            yield Bench(database, directory, following, clock, events, made)
    finally:
        following.stop()


def test_a_change_is_in_force_after_the_next_look(bench: Bench) -> None:
    bench.following.start()
    bench.add_ann()
    bench.clock.advance(EVERY)
    (mailbox,) = bench.directory.mailboxes()
    assert bench.made == [mailbox.path]
    assert bench.following.logins.addresses("ann@example.org") == ()
    bench.change(changing.remove_user("ann@example.org"))
    bench.clock.advance(EVERY)
    assert list(bench.directory.mailboxes()) == []
    assert bench.following.logins.addresses("ann@example.org") is None


def test_a_mailbox_that_could_not_be_made_is_tried_at_the_next_look(bench: Bench) -> None:
    bench.add_ann()
    bench.following.prepare()
    bench.following.start()
    for _ in range(2):
        bench.clock.advance(EVERY)
    (mailbox,) = bench.directory.mailboxes()
    assert bench.made == [mailbox.path] * 2


def test_where_nothing_changes_nothing_is_replaced(bench: Bench) -> None:
    bench.following.start()
    before = bench.directory.current
    bench.clock.advance(EVERY)
    assert bench.directory.current is before


def test_a_directory_without_hosts_puts_mail_off_until_there_is_one(bench: Bench) -> None:
    bench.following.start()
    with pytest.raises(StorageFailed, match="no host"):
        bench.directory.resolve(ANN)
    assert bench.events.named.count("directory_empty") == 1
    bench.add_ann()
    bench.clock.advance(EVERY)
    assert bench.directory.resolve(ANN)


def test_a_database_that_is_away_is_told_once_and_what_was_read_stays(bench: Bench) -> None:
    bench.add_ann()
    bench.following.prepare()
    bench.following.start()
    bench.database.execute("ALTER TABLE directory RENAME TO gone")
    for _ in range(3):
        bench.clock.advance(EVERY)
    assert bench.directory.resolve(ANN)
    bench.database.execute("ALTER TABLE gone RENAME TO directory")
    bench.clock.advance(EVERY)
    told = [name for name in bench.events.named if name in ("directory_trouble", "directory_recovered")]
    assert told == ["directory_trouble", "directory_recovered"]


def test_a_start_without_the_database_is_an_error(bench: Bench) -> None:
    bench.database.execute("UPDATE alembic_version SET version_num = '9999'")
    bench.database.execute("UPDATE compatibility SET oldest = '9999'")
    with pytest.raises(StorageFailed, match="newer"):
        bench.following.prepare()


def test_a_bad_row_is_told_once_and_stops_nothing(bench: Bench) -> None:
    bench.following.start()
    bench.database.execute("INSERT INTO users (host, name, key, addresses) VALUES ('', '../x', '../x', '')")
    bench.add_ann()
    bench.clock.advance(EVERY)
    bench.change(changing.add_alias("sales@example.org", ["ann"]))
    bench.clock.advance(EVERY)
    assert bench.events.named.count("directory_set_aside") == 1
    assert bench.directory.resolve(Address("sales", "example.org"))
