"""Who may log in: the file read again, logins checked, and nothing told about who exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailagent.directory.logins import MOST_CHECKS, UsersUnavailable
from mailagent.directory.users import Users
from mailagent.directory.users_file import UsersFile
from mailagent.directory.users_storage import locked, replace_file
from mailagent.interfaces import IProvenLogin
from tests.directory.test_users_file import ARGON2, PENCIL, SCRAM
from tests.maildir.support import Events, Threads, logged

FILE = UsersFile.parse(f"Ann:{PENCIL}\n".encode()).with_secret(b"0123456789")


@implementer(IProvenLogin)
@attrs.define
class Proven:
    username: bytes
    proven: bool


@attrs.define
class Bench:
    """Users of a file in a temporary directory, their threads and their time."""

    path: Path
    users: Users
    threads: Threads
    clock: Clock
    events: Events

    def write(self, content: UsersFile | bytes) -> None:
        """Put another file there, and look at it once it is time."""
        with locked(str(self.path)) as path:
            replace_file(path, bytes(content))
        self.look()

    def look(self) -> None:
        self.clock.advance(1)
        looked = self.users.refresh()
        self.threads.finish_all()
        assert looked.called

    def check(self, name: bytes, password: bytes) -> bytes | None:
        return self.outcome(UsernamePassword(name, password))

    def outcome(self, credentials: Any) -> bytes | None:
        """The name of who logs in; C{None} where the login is refused."""
        results: list[Any] = []
        self.users.requestAvatarId(credentials).addBoth(results.append)
        self.threads.finish_all()
        if isinstance(results[0], bytes):
            return results[0]
        results[0].trap(UnauthorizedLogin)
        return None


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    threads, clock = Threads(), Clock()
    path = tmp_path / "users"
    path.write_bytes(bytes(FILE))
    with logged() as events:
        made = Bench(path, Users(str(path), threads.run, clock.seconds), threads, clock, events)
        made.look()
        yield made


def test_it_is_a_checker(bench: Bench) -> None:
    verifyObject(ICredentialsChecker, bench.users)


def test_a_login_is_known_by_the_name_in_the_file(bench: Bench) -> None:
    assert bench.check(b"ANN", b"pencil") == b"Ann"
    assert bench.check(b"ann", b"Pencil") is None
    assert bench.check(b"bob", b"pencil") is None
    assert bench.check(b"\xff", b"pencil") is None


def test_a_proven_login_needs_no_password_and_a_user(bench: Bench) -> None:
    assert bench.outcome(Proven(b"ann", True)) == b"Ann"
    assert bench.outcome(Proven(b"ann", False)) is None
    assert bench.outcome(Proven(b"bob", True)) is None


def test_a_verified_login_is_not_worked_out_again_until_the_file_changes(bench: Bench) -> None:
    def jobs(password: bytes) -> int:
        bench.users.requestAvatarId(UsernamePassword(b"ann", password))
        return len(bench.threads.jobs)

    assert bench.check(b"ann", b"pencil") == b"Ann"
    assert jobs(b"pencil") == 0
    assert jobs(b"Pencil") == 1
    bench.threads.jobs.clear()
    bench.write(FILE.adding("bob", SCRAM))
    assert jobs(b"pencil") == 1


def test_only_so_many_passwords_wait_to_be_checked(bench: Bench) -> None:
    waiting = [bench.users.requestAvatarId(UsernamePassword(b"nobody", b"%d" % number)) for number in range(40)]
    assert [check.called for check in waiting] == [False] * MOST_CHECKS + [True] * (40 - MOST_CHECKS)
    failures: list[Any] = []
    for check in waiting:
        check.addErrback(failures.append)
    assert failures[0].check(UsersUnavailable)
    bench.threads.finish_all()
    assert len(failures) == 40
    assert failures[-1].check(UnauthorizedLogin)


def test_a_look_at_the_file_waits_for_no_password(bench: Bench) -> None:
    looks = Threads()
    users = Users(str(bench.path), bench.threads.run, bench.clock.seconds, looks.run)
    looked = users.refresh()
    looks.finish_all()
    assert looked.called
    assert users.all_scram


def test_who_does_not_exist_costs_the_same_work(bench: Bench) -> None:
    failed: Deferred[Any] = bench.users.requestAvatarId(UsernamePassword(b"nobody", b"x"))
    assert len(bench.threads.jobs) == 1
    bench.threads.finish_all()
    failed.addErrback(lambda why: why.trap(UnauthorizedLogin))
    assert bench.check(b"nobody", b"pencil") is None, "not even with the password of the stand-in"
    assert bench.check(b"nobody", b"pencil") is None


def test_who_does_not_exist_has_a_salt_that_stays(bench: Bench) -> None:
    real, nobody, other = (bench.users.scram(name) for name in ("ann", "nobody", "other"))
    assert (nobody.rounds, len(nobody.salt)) == (real.rounds, len(real.salt))
    assert len({real.salt, nobody.salt, other.salt}) == 3
    bench.write(FILE.changing("ann", attrs.evolve(SCRAM, rounds=real.rounds)).adding("bob", SCRAM))
    assert bench.users.scram("Nobody").salt == nobody.salt
    again = Users(str(bench.path), bench.threads.run, bench.clock.seconds)
    again.refresh()
    bench.threads.finish_all()
    assert again.scram("nobody").salt == nobody.salt, "over a restart, too"
    assert nobody.stored_key != nobody.salt + nobody.salt


def test_a_user_more_changes_nothing_that_is_seen_of_who_does_not_exist(bench: Bench) -> None:
    """Else an administrator's adding a user would show which names are real: theirs stay as they are."""

    def seen() -> list[tuple[int, bytes]]:
        return [(record.rounds, record.salt) for record in (bench.users.scram(f"nobody{n}") for n in range(64))]

    file = FILE.adding("bob", attrs.evolve(SCRAM, rounds=5000))
    bench.write(file)
    before = seen()
    assert {rounds for rounds, _ in before} == {4096, 5000}, "none of the kinds gives a name away"
    file = file.adding("carl", SCRAM).adding("dora", attrs.evolve(SCRAM, rounds=5000))
    bench.write(file)
    assert seen() == before
    bench.write(file.removing("ann").removing("dora"))
    assert seen() == before
    bench.write(file.adding("emil", attrs.evolve(SCRAM, rounds=6000)))
    assert all(new == old or new[0] == 6000 for new, old in zip(seen(), before, strict=True))


def test_a_changed_file_is_taken_up_once_a_second_has_gone_by(bench: Bench) -> None:
    with locked(str(bench.path)) as path:
        replace_file(path, bytes(FILE.removing("ann")))
    assert bench.users.refresh().called
    assert not bench.threads.jobs
    bench.look()
    assert bench.check(b"ann", b"pencil") is None
    assert bench.users.addresses("ann") is None


def test_two_who_ask_at_once_wait_for_one_look(bench: Bench) -> None:
    bench.clock.advance(1)
    first, second = bench.users.refresh(), bench.users.refresh()
    assert len(bench.threads.jobs) == 1
    assert not second.called
    bench.threads.finish_all()
    assert first.called
    assert second.called


def test_a_bad_new_file_keeps_the_old_one_and_says_so_once(bench: Bench) -> None:
    bench.write(b"ann:{PLAIN}hunter2\n")
    bench.look()
    (event,) = [event for event in bench.events if event.get("event") == "error"]
    assert "the last good one stays" in event["what"]
    assert event["reason"].startswith("line 1: ")
    assert "hunter2" not in str(event)
    assert bench.check(b"ann", b"pencil") == b"Ann"


def test_a_file_that_is_empty_for_a_moment_keeps_the_old_one(bench: Bench) -> None:
    bench.write(b"")
    assert bench.users.addresses("ann") is not None
    assert "empty" in bench.events[-1]["reason"]


def test_a_file_that_is_gone_keeps_the_old_one_until_it_is_back(bench: Bench) -> None:
    bench.path.unlink()
    bench.look()
    bench.look()
    assert [event.get("event") for event in bench.events].count("error") == 1
    assert bench.check(b"ann", b"pencil") == b"Ann"
    bench.write(FILE.adding("bob", SCRAM))
    assert bench.check(b"bob", b"secret") == b"bob"


def test_before_any_file_could_be_read_it_is_our_trouble(tmp_path: Path) -> None:
    threads = Threads()
    users = Users(str(tmp_path / "none"), threads.run, Clock().seconds)
    users.refresh()
    threads.finish_all()
    failures: list[Any] = []
    users.requestAvatarId(UsernamePassword(b"ann", b"x")).addErrback(failures.append)
    assert failures[0].check(UsersUnavailable)
    assert not users.all_scram


def test_scram_serves_everybody_or_is_not_there(bench: Bench) -> None:
    assert bench.users.all_scram
    bench.write(bytes(FILE) + f"bob:{ARGON2}\n".encode())
    assert not bench.users.all_scram
    assert bench.check(b"bob", b"x") == b"bob"


def test_a_replaced_file_keeps_its_mode_but_is_never_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "users"
    replace_file(str(path), b"")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o664)
    replace_file(str(path), b"x\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["users"]
