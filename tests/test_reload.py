"""A reload: what it takes up, what it leaves alone, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred

from mailagent.config import Config, ConfigError, HostSettings, Limits, WhitelistSettings
from mailagent.config.values import ConfiguredPath, Count, Domain, Duration, Size, UserName
from mailagent.directory.current import CurrentDirectory
from mailagent.directory.whitelist import Whitelist
from mailagent.interfaces import MailboxUnwritable
from mailagent.parts import Parts
from mailagent.reception.relay_networks import RelayNetworks
from mailagent.reload import Ready, Reload
from mailagent.smtp.tls import ServerTLS
from mailagent.state import make_directory
from tests.maildir.support import Events, Threads
from tests.memory_server import ROOT, MemoryServer, codes, make_config, transaction
from tests.smtp.certificates import names, shake_hands, write_pair

ZED = b"RCPT TO:<zed@hostmeister.de>\r\n"


class World:
    """A server that runs, and the configuration that its next reload will find."""

    def __init__(self, state: Path) -> None:
        self.config = attrs.evolve(make_config(), state=ConfiguredPath(str(state)))
        self.next: Config | ConfigError = self.config
        self.loads = 0
        self.directory = CurrentDirectory(Whitelist.from_config(self.config))
        self.server = MemoryServer(directory=self.directory)
        self.events = Events()
        self.threads = Threads()
        self.tls = ServerTLS(self.server.clock.seconds)
        parts = Parts(
            self.directory, self.server.factory, self.tls, self.server.files, RelayNetworks(), self.events.log
        )
        make_directory(self.config.state)
        parts.start(self.config)
        self.reload = Reload(self.config, self.load, parts, self.threads.run)

    def load(self) -> Config:
        self.loads += 1
        if isinstance(self.next, ConfigError):
            raise self.next
        return self.next

    def reload_with(self, **settings: object) -> None:
        self.next = attrs.evolve(self.config, **settings)  # type: ignore[arg-type]
        self.reload()
        self.threads.finish_all()

    @property
    def told(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.events]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def with_zed() -> WhitelistSettings:
    users = (UserName("user1"), UserName("zed"))
    return WhitelistSettings(users=users, hosts=(Domain("hostmeister.de"), Domain("hostgator.com")))


def test_a_session_goes_on_and_a_new_user_gets_mail(world: World) -> None:
    connection = world.server.connect()
    connection.greet()
    assert codes(connection.send(b"MAIL FROM:<a@b>\r\n" + ZED)) == ["250 2.1.0", "550 5.1.1"]
    world.reload_with(whitelist=with_zed())
    assert codes(connection.send(ZED + b"DATA\r\nS: x\r\n\r\nhi\r\n.\r\n")) == ["250 2.1.5", "354", "250 2.0.0"]
    assert len(world.server.stored("zed")) == 1
    assert codes(connection.send(transaction("user2@hostmeister.de")))[1] == "550 5.1.1"
    assert world.told == ["reloaded built-in default, changed: whitelist.users"]


def test_a_session_keeps_its_limits_and_the_next_has_the_new_ones(world: World) -> None:
    old = world.server.connect()
    world.reload_with(limits=Limits(message_size=Size(1000), idle_time=Duration(7.0), recipients=Count(1)))
    new = world.server.connect()
    assert b"SIZE 26214400" in old.send(b"EHLO x\r\n")
    assert b"SIZE 1000" in new.send(b"EHLO x\r\n")
    assert new.session.timeout == 7.0


def test_a_renewed_certificate_is_taken_up_at_once(world: World, tmp_path: Path) -> None:
    files = write_pair(tmp_path, "new.example")
    tls = attrs.evolve(world.config.tls, certificate=ConfiguredPath(files.certificate), key=ConfiguredPath(files.key))
    before = shake_hands(world.tls)
    world.reload_with(tls=tls)
    assert names(shake_hands(world.tls).certificate) == ["new.example"]
    assert before.exchange(b"NOOP\r\n") == b"NOOP\r\n"
    assert world.told == ["reloaded built-in default, changed: tls.certificate, tls.key"]


def test_a_wrong_file_changes_nothing_and_all_that_is_wrong_is_told(world: World) -> None:
    directory, limits = world.directory.current, world.server.factory.limits
    world.next = ConfigError(["a.toml: one", "a.toml: two"])
    world.reload()
    world.threads.finish_all()
    assert world.told == ["nothing reloaded: a.toml: one", "nothing reloaded: a.toml: two"]
    assert (world.directory.current, world.server.factory.limits) == (directory, limits)


def test_a_bad_certificate_keeps_everything_else_from_changing_too(world: World) -> None:
    directory = world.directory.current
    bad = attrs.evolve(world.config.tls, certificate=ConfiguredPath("/absent"), key=ConfiguredPath("/absent"))
    world.reload_with(tls=bad, whitelist=with_zed())
    assert world.told == ["nothing reloaded: /absent: No such file or directory"]
    assert world.directory.current is directory
    assert f"{ROOT}/zed" not in world.server.files.names(ROOT)


def test_a_mailbox_that_cannot_be_made_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(files: object, mailboxes: list[object], *_: object) -> None:
        if mailboxes:
            raise MailboxUnwritable(mailboxes[0], "/mail/zed: Read-only file system")  # type: ignore[arg-type]

    monkeypatch.setattr("mailagent.parts.prepare", refuse)
    directory = world.directory.current
    world.reload_with(whitelist=with_zed())
    assert world.told == ["nothing reloaded: /mail/zed: Read-only file system"]
    assert world.directory.current is directory


def test_what_needs_a_restart_is_told_and_left_alone(world: World) -> None:
    hosts = {Domain("example.org"): HostSettings(users=(UserName("ann"), UserName("cy")))}
    mailboxes = attrs.evolve(world.config.mailboxes, path=ConfiguredPath("/elsewhere"))
    world.reload_with(mailboxes=mailboxes, hostname=Domain("other.example"), hosts=hosts)
    assert world.told[1:] == ["changed, and taken up by a restart only: hostname, mailboxes.path"]
    assert {mailbox.path for mailbox in world.directory.mailboxes()} >= {f"{ROOT}/example.org/cy"}
    world.reload()
    world.threads.finish_all()
    assert world.told[2:] == [
        "reloaded built-in default, changed: nothing",
        "changed, and taken up by a restart only: hostname, mailboxes.path",
    ]


def test_reloads_asked_for_meanwhile_become_one(world: World) -> None:
    for _ in range(5):
        world.reload()
    world.threads.finish()
    assert len(world.threads.jobs) == 1
    world.threads.finish_all()
    assert world.loads == 2


def test_a_fault_of_ours_is_told_and_the_next_reload_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("mailagent.parts.read", lambda plan: 1 / 0)
        world.reload_with(whitelist=with_zed())
    assert world.told == ["nothing reloaded: ZeroDivisionError('division by zero')"]
    world.reload_with(whitelist=with_zed())
    assert world.told[1:] == ["reloaded built-in default, changed: whitelist.users"]


def test_a_fault_while_it_is_put_in_place_is_told_and_the_next_reload_works(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ServerTLS, "use", lambda self, found: 1 / 0)
        world.reload_with(whitelist=with_zed())
    assert world.told == ["taking up the configuration: ZeroDivisionError('division by zero')"]
    world.reload_with(whitelist=with_zed())
    assert world.told[1:] == ["reloaded built-in default, changed: whitelist.users"]


def test_ready_is_put_in_place_only_when_the_thread_is_done(world: World) -> None:
    directory = world.directory.current
    world.next = attrs.evolve(world.config, whitelist=with_zed())
    world.reload()
    assert world.directory.current is directory
    done, job = world.threads.jobs.pop()
    ready = job()
    assert isinstance(ready, Ready)
    assert world.directory.current is directory
    done.callback(ready)
    assert world.directory.current is not directory


class Others:
    """Other processes that share the work, played: they say when they are ready, and when it is in place."""

    def __init__(self, world: World) -> None:
        self.ready: Deferred[Callable[[], Deferred[None]]] = Deferred()
        self.placed: Deferred[None] = Deferred()
        self.asked: list[Config] = []
        world.reload._agree = self.agree

    def agree(self, config: Config) -> Deferred[Callable[[], Deferred[None]]]:
        self.asked.append(config)
        return self.ready


def test_nothing_is_put_in_place_before_all_others_are_ready_nor_told_before_they_have_it(world: World) -> None:
    others = Others(world)
    world.reload_with(whitelist=with_zed())
    assert others.asked[0].whitelist == with_zed()
    before = world.directory.current
    others.ready.callback(lambda: others.placed)
    assert world.directory.current is not before
    assert world.told == []
    others.placed.callback(None)
    assert world.told == ["reloaded built-in default, changed: whitelist.users"]


def test_what_one_of_the_others_refuses_changes_nothing(world: World) -> None:
    others = Others(world)
    world.reload_with(whitelist=with_zed())
    before = world.directory.current
    others.ready.errback(ConfigError(["worker 2: cannot"]))
    assert world.directory.current is before
    assert world.told == ["nothing reloaded: worker 2: cannot"]
