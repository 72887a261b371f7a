"""C{mailagent sendmail}: what its options make of a message, and the exit statuses. Real sockets are in tests/peers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

from mailagent.cli.main import main
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply
from mailagent.sendmail.message import Message
from mailagent.sendmail.submit import Submitted

TAKEN = Reply(250, "2.0.0", "Stored")
MESSAGE = b"Subject: x\n\nhi\n"


@attrs.define
class Site:
    """A configuration, and a server that gives each recipient the reply of the test's choice.

    @ivar reply: by recipient; C{None}, there is no server.
    """

    directory: Path
    reply: Callable[[str], Reply] | None = lambda recipient: TAKEN
    sent: list[tuple[Envelope, bytes]] = attrs.field(factory=list)

    def submit(self, socket: str, name: str, envelope: Envelope, message: Message) -> Submitted:
        assert socket == str(self.directory / "state" / "submit.sock")
        if self.reply is None:
            return Submitted(trouble="nobody listens")
        self.sent.append((envelope, b"".join(message.blocks())))
        return Submitted(tuple(Outcome(each, self.reply(str(each))) for each in envelope.recipients))

    def run(self, *words: str, message: bytes = MESSAGE) -> Result:
        config = str(self.directory / "mailagent.toml")
        return CliRunner().invoke(main, ["sendmail", "--config", config, *words], input=message)

    def envelope(self, *words: str) -> Envelope:
        done = self.run(*words)
        assert (done.exit_code, done.output) == (0, "")
        return self.sent[-1][0]

    @property
    def left(self) -> Sequence[bytes]:
        drop = self.directory / "state" / "drop"
        return [(drop / name).read_bytes() for name in sorted(os.listdir(drop))]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "mailagent.toml").write_text(
        f'hostname = "mx.example"\nstate = "{tmp_path}/state"\n'
        '[whitelist]\nhosts = ["example.org"]\nusers = ["ann"]\n[limits]\nmessage_size = "1 KiB"\n'
    )
    (tmp_path / "state" / "drop").mkdir(parents=True)
    site = Site(tmp_path)
    monkeypatch.setattr("mailagent.cli.sendmail._submit", site.submit)
    return site


def test_bare_names_are_at_our_host_and_arguments_may_hold_several(site: Site) -> None:
    found = site.envelope("-f", "root", "ann,bob@a.example", "cat")
    assert list(map(str, found.recipients)) == ["ann@example.org", "bob@a.example", "cat@example.org"]
    assert str(found.reverse_path) == "root@example.org"


@pytest.mark.parametrize("words", [["-f", "<>"], ["-f", ""], ["-r<>"]])
def test_the_null_sender(site: Site, words: list[str]) -> None:
    assert site.envelope(*words, "ann").reverse_path is None


def test_the_report_options_are_passed_on(site: Site) -> None:
    found = site.envelope("-Nsuccess,delay", "-R", "hdrs", "-V", "my id", "ann", "bob")
    assert (found.returned, found.envelope_id) == ("HDRS", "my id")
    assert {found.wishes(each).conditions for each in found.recipients} == {frozenset({"SUCCESS", "DELAY"})}


@pytest.mark.parametrize(
    "words",
    [
        ["-oi", "-oem", "-odb", "-om"],
        ["-bm", "-n", "-m", "-U", "-G", "-em", "-B8BITMIME", "-Oopt=x", "-Ltag", "-Am"],
        ["-i", "-v", "--"],
    ],
)
def test_what_other_implementations_know_is_taken(site: Site, words: list[str]) -> None:
    assert site.run(*words, "ann").exit_code == 0


def test_with_t_the_header_names_recipients_beside_the_arguments(site: Site) -> None:
    assert site.run("-t", "cat", message=b"To: ann\nBcc: bob\n\nhi\n").exit_code == 0
    envelope, text = site.sent[0]
    assert [each.local for each in envelope.recipients] == ["cat", "ann", "bob"]
    assert b"Bcc" not in text


def test_who_is_deferred_is_left_in_the_drop_and_who_is_refused_is_told(site: Site) -> None:
    replies = {"ann@example.org": TAKEN, "bob@example.org": Reply(451, "4.3.0", "x")}
    site.reply = lambda recipient: replies.get(recipient, Reply(550, "5.7.1", "No"))
    done = site.run("ann", "bob", "cat")
    assert (done.exit_code, done.stderr) == (69, "sendmail: cat@example.org: 550 5.7.1 No\n")
    (left,) = site.left
    assert b"RCPT TO:<bob@example.org>\n\n" in left
    assert left.count(b"RCPT") == 1


def test_with_v_what_is_left_for_a_server_that_is_away_is_told_too(site: Site) -> None:
    site.reply = None
    done = site.run("-v", "ann", "bob")
    assert done.exit_code == 0
    told = "sendmail: {}@example.org: left for the server (nobody listens)\n"
    assert done.stderr == told.format("ann") + told.format("bob")


def test_unknown_users_alone_have_a_status_of_their_own(site: Site) -> None:
    site.reply = lambda recipient: Reply(550, "5.1.1", "No such user")
    assert site.run("ann").exit_code == 67


def test_without_a_server_all_goes_into_the_drop_and_without_that_it_is_to_be_tried_again(site: Site) -> None:
    site.reply = None
    assert site.run("ann").exit_code == 0
    (left,) = site.left
    assert left.endswith(MESSAGE)
    for path in (site.directory / "state" / "drop").iterdir():
        path.unlink()
    (site.directory / "state" / "drop").rmdir()
    done = site.run("ann")
    assert done.exit_code == 75
    assert done.stderr.startswith("sendmail: nobody listens; and it cannot be left in ")


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        ([], MESSAGE, 64),
        (["-t"], MESSAGE, 64),
        (["--nonsense", "ann"], MESSAGE, 64),
        (["-R", "some", "ann"], MESSAGE, 64),
        (["-N", "soon", "ann"], MESSAGE, 64),
        (["-bs"], MESSAGE, 64),
        (["-bz"], MESSAGE, 64),
        (["a@@b"], MESSAGE, 65),
        (["-t"], b"To: a b c\n\nhi\n", 65),
        (["-f", "a b", "ann"], MESSAGE, 65),
        (["ann"], b"", 65),
        (["ann"], b"A: b\n\n" + b"x" * 2000, 65),
    ],
)
def test_what_cannot_be_sent_is_said_and_is_sent_to_nobody(
    site: Site, words: list[str], message: bytes, status: int
) -> None:
    done = site.run(*words, message=message)
    assert done.exit_code == status
    assert done.stderr
    assert (site.sent, site.left) == ([], [])


def test_an_id_that_no_server_would_take_is_wrong_use_and_an_empty_one_is_none(site: Site) -> None:
    assert [site.run("-V", id_, "ann").exit_code for id_ in ("x" * 101, "ö" * 17)] == [64, 64]
    assert site.sent == []
    assert site.envelope("-V", "", "ann").envelope_id is None
    assert site.envelope("-V", "x" * 100, "ann").envelope_id == "x" * 100


def test_a_wrong_configuration_has_a_status_of_its_own(site: Site) -> None:
    (site.directory / "mailagent.toml").write_text("nonsense = 1\n")
    assert site.run("ann").exit_code == 78


def test_q_is_taken_and_sends_nothing(site: Site) -> None:
    done = site.run("-q15m")
    assert (done.exit_code, site.sent) == (0, [])
    assert "tries by itself" in done.stderr


def test_bp_is_the_list_of_the_queue(site: Site) -> None:
    done = site.run("-bp")
    assert done.exit_code == 1
    assert "no database there" in done.stderr
