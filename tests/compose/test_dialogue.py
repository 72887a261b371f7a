"""The dialogue, with a scripted person and a scripted server, all in memory."""

from __future__ import annotations

import email
import io
import os
from collections.abc import Iterable, Mapping
from email import policy
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailagent.compose import exit_status
from mailagent.compose.address_book import AddressBook
from mailagent.compose.attachment import Attachment
from mailagent.compose.correspondent import parse_correspondent, parse_correspondents
from mailagent.compose.dialogue import Dialogue
from mailagent.compose.draft_folder import DraftFolder
from mailagent.compose.given import Given
from mailagent.compose.prompt import Cancelled, Interrupted, IPrompter
from mailagent.compose.resume import read_draft
from mailagent.compose.submit import Submission
from mailagent.compose.teller import Teller
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply
from mailagent.smtp.sender import Sender
from mailagent.smtp.sending_failed import SendingFailed, Unreachable

ME = parse_correspondent("me@example.com")
OK = Reply(250, "2.0.0", "Stored")
UNKNOWN = Reply(550, "5.1.1", "No such user here")
LATER = Reply(451, "4.2.0", "Not now")


class Server:
    """Replies to recipients by their local part, and takes what it accepts.

    @ivar checks: who was asked about, each time.
    @ivar messages: what was sent.
    """

    def __init__(self, replies: Mapping[str, Reply] | None = None) -> None:
        self.replies = replies or {}
        self.checks: list[list[str]] = []
        self.messages: list[bytes] = []
        self.failure: SendingFailed | None = None
        self.waits: Deferred[None] = succeed(None)

    def connect(self) -> Deferred[Sender]:
        return succeed(cast(Sender, self))

    async def check(self, envelope: Envelope) -> tuple[Outcome, ...]:
        self.checks.append([who.local for who in envelope.recipients])
        return await self._outcomes(envelope)

    async def submit(self, envelope: Envelope, content: Iterable[bytes]) -> tuple[Outcome, ...]:
        outcomes = await self._outcomes(envelope)
        self.envelope = envelope
        self.messages.append(b"".join(content))
        return outcomes

    async def quit(self) -> None:
        pass

    async def _outcomes(self, envelope: Envelope) -> tuple[Outcome, ...]:
        await self.waits
        outcomes = tuple(Outcome(who, self.replies.get(who.local, OK)) for who in envelope.recipients)
        if self.failure is not None:
            self.failure.outcomes = outcomes
            raise self.failure
        return outcomes


@implementer(IPrompter)
class Person:
    """Gives the answers in turn; one that is an exception instead of an answer, or a Deferred of either.

    @ivar asked: the labels.
    @ivar found: what was there to begin with, for each.
    """

    def __init__(self, *answers: str | Exception | Deferred[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.found: list[str] = []

    def ask(self, label: str, typed: str = "") -> Deferred[str]:
        self.asked.append(label)
        self.found.append(typed)
        answer = self.answers.pop(0)
        if isinstance(answer, Deferred):
            return answer
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    ask_recipients = ask

    def ask_password(self, label: str) -> Deferred[str]:
        return self.ask(label)

    compose = ask_password


@attrs.define
class Told:
    """How a dialogue went."""

    status: int
    out: str
    err: str
    drafts: list[Path]

    @property
    def draft(self) -> Any:
        (path,) = self.drafts
        return email.message_from_bytes(path.read_bytes(), policy=policy.default)


class Talk:
    """A dialogue under way."""

    def __init__(self, folder: Path, server: Server, person: Person | None, **given: Any) -> None:
        self.folder, self.out, self.err, clock = folder, io.StringIO(), io.StringIO(), Clock()
        clock.advance(1_800_000_000)
        submission, drafts = Submission(server.connect), DraftFolder((folder,))
        known = Given(**{"sender": ME, **given})
        book = AddressBook(folder / "recipients")
        dialogue = Dialogue(known, submission, drafts, clock, Teller(self.out, self.err), book, person)
        self.results: list[Any] = []
        self.deferred = Deferred.fromCoroutine(dialogue.run()).addBoth(self.results.append)

    @property
    def told(self) -> Told:
        (status,) = self.results
        assert isinstance(status, int), status
        return Told(status, self.out.getvalue(), self.err.getvalue(), list(self.folder.glob("*.eml")))


def talk(folder: Path, server: Server, person: Person | None, **given: Any) -> Told:
    return Talk(folder, server, person, **given).told


# A person


def test_a_person_is_asked_for_recipients_subject_and_text(tmp_path: Path) -> None:
    server, person = Server(), Person("ann@example.org; bob@example.org", "Hello", "text\n")
    told = talk(tmp_path, server, person)
    assert person.asked == ["To: ", "Subject: ", "(^C to cancel) | (^D to send)\nEnter email message:\n"]
    assert told.status == 0
    assert told.out == ("ann@example.org: accepted (250 2.0.0 Stored)\nbob@example.org: accepted (250 2.0.0 Stored)\n")
    assert told.drafts == []
    assert b"\r\nTo: ann@example.org,\r\n bob@example.org\r\nSubject: Hello\r\n" in server.messages[0]
    assert server.messages[0].endswith(b"\r\n\r\ntext\r\n")


def test_the_envelope_has_everybody_and_the_size(tmp_path: Path) -> None:
    server = Server()
    given = {field: parse_correspondents(f"{field}@example.org") for field in ("to", "cc", "bcc")}
    talk(tmp_path, server, Person("Hello", "text\n"), **given)
    assert [str(who) for who in server.envelope.recipients] == ["to@example.org", "cc@example.org", "bcc@example.org"]
    assert server.envelope.reverse_path == ME.address
    assert server.envelope.size == len(server.messages[0])
    assert b"bcc" not in server.messages[0]


def test_what_the_command_line_settled_is_not_asked(tmp_path: Path) -> None:
    server, person = Server(), Person()
    given = {"to": parse_correspondents("ann@example.org"), "subject": "", "body": "text"}
    assert talk(tmp_path, server, person, **given).status == 0
    assert person.asked == []


def test_a_sender_that_makes_no_sense_is_asked_for(tmp_path: Path) -> None:
    server, person = Server(), Person("nonsense", "ann@example.org", "bob@example.org", "", "")
    told = talk(tmp_path, server, person, sender=None)
    assert person.asked[:2] == ["From: ", "From: "]
    assert "'nonsense' is not a mail address" in told.out
    assert server.envelope.reverse_path == parse_correspondent("ann@example.org").address


def test_a_mistyped_address_is_named_and_asked_for_again(tmp_path: Path) -> None:
    server, person = Server(), Person("ann@example.org, bob", "", "ann@example.org", "", "")
    told = talk(tmp_path, server, person)
    assert "'bob' is not a mail address" in told.out
    assert person.asked[:3] == ["To: "] * 3
    assert server.checks == [["ann"]]


def test_a_refused_recipient_is_shown_and_can_be_corrected_before_the_text(tmp_path: Path) -> None:
    server = Server({"nobody": UNKNOWN})
    person = Person("ann@example.org, nobody@example.org", "bob@example.org", "", "text\n")
    told = talk(tmp_path, server, person)
    assert told.out.startswith("nobody@example.org: refused (550 5.1.1 No such user here)\n")
    assert person.asked[1:3] == ["Instead of nobody@example.org (empty: leave out): ", "Subject: "]
    assert server.checks == [["ann", "nobody"], ["bob"]]
    assert [who.local for who in server.envelope.recipients] == ["ann", "bob"]


def test_a_refused_recipient_and_its_name_are_there_to_be_corrected(tmp_path: Path) -> None:
    person = Person("bob@a.b, Ann <nobody@a.b>", "Ann <ann@a.b", "Ann <ann@a.b>", "", "")
    assert talk(tmp_path, Server({"nobody": UNKNOWN}), person).status == 0
    assert person.found == ["", "Ann <nobody@a.b>", "Ann <ann@a.b", "", ""]


def test_the_only_recipient_left_out_asks_for_another(tmp_path: Path) -> None:
    person = Person("nobody@example.org", "", "ann@example.org", "", "")
    assert talk(tmp_path, Server({"nobody": UNKNOWN}), person).status == 0
    assert person.asked[2] == "To: "


def test_a_recipient_refused_again_is_asked_for_again(tmp_path: Path) -> None:
    server, person = Server({"nobody": UNKNOWN}), Person("nobody@a.b", "nobody@a.b", "ann@a.b", "", "")
    assert talk(tmp_path, server, person).status == 0
    assert server.checks == [["nobody"], ["nobody"], ["ann"]]


def test_a_deferred_recipient_is_shown_and_stays(tmp_path: Path) -> None:
    server, person = Server({"later": LATER}), Person("later@example.org", "", "text\n")
    told = talk(tmp_path, server, person)
    assert told.out.startswith("later@example.org: deferred (451 4.2.0 Not now)\n")
    assert told.status == os.EX_TEMPFAIL


def test_a_server_out_of_reach_is_told_before_anything_is_written(tmp_path: Path) -> None:
    server, person = Server(), Person("ann@example.org")
    server.failure = Unreachable("cannot connect: refused")
    told = talk(tmp_path, server, person)
    assert (told.status, told.err) == (os.EX_UNAVAILABLE, "Failed: cannot connect: refused\n")
    assert told.drafts == []


@pytest.mark.parametrize("answers", [(), ("ann@example.org",), ("ann@example.org", "Hello"), ("nobody@example.org",)])
def test_who_gives_up_sends_nothing(tmp_path: Path, answers: tuple[str, ...]) -> None:
    server = Server({"nobody": UNKNOWN})
    told = talk(tmp_path, server, Person(*answers, Cancelled()))
    assert told.status == exit_status.CANCELLED == 130
    assert told.out.endswith("Cancelled: nothing was sent.\n")
    assert server.messages == []
    assert told.drafts == []


def test_who_gives_up_the_password_when_the_text_is_written_still_has_the_text(tmp_path: Path) -> None:
    class Locked(Server):
        async def submit(self, envelope: Envelope, content: Iterable[bytes]) -> tuple[Outcome, ...]:
            raise Cancelled  # as the connection asked for the password, in vain

    told = talk(tmp_path, Locked(), Person("ann@example.org", "Hello", "text\n"))
    assert (told.status, told.out) == (exit_status.CANCELLED, "Cancelled: nothing was sent.\n")
    assert told.draft.get_content() == "text\n"


# Nobody to ask


def test_with_nobody_to_ask_the_message_is_sent_without_a_check(tmp_path: Path) -> None:
    server = Server()
    told = talk(tmp_path, server, None, to=parse_correspondents("ann@example.org"), body="hi\n")
    assert told.status == 0
    assert server.checks == []
    assert server.messages[0].endswith(b"\r\n\r\nhi\r\n")


# What does not get through


@pytest.mark.parametrize(
    ("refusals", "status"),
    [
        ({"ann": UNKNOWN}, exit_status.PARTLY_ACCEPTED),
        ({"ann": UNKNOWN, "bob": UNKNOWN}, os.EX_NOUSER),
        ({"ann": UNKNOWN, "bob": LATER}, os.EX_TEMPFAIL),
    ],
)
def test_a_text_that_did_not_reach_everybody_is_kept(tmp_path: Path, refusals: dict[str, Reply], status: int) -> None:
    to = parse_correspondents("ann@example.org, bob@example.org")
    told = talk(tmp_path, Server(refusals), None, to=to, subject="Hello", body="text\n")
    assert told.status == status
    assert told.err == f"The text is kept in {told.drafts[0]}\n"
    assert told.draft["Subject"] == "Hello"
    assert told.draft["To"] == "ann@example.org, bob@example.org"
    assert told.draft.get_content() == "text\n"


def test_a_session_that_breaks_tells_what_is_known_of_each_and_keeps_the_text(tmp_path: Path) -> None:
    server = Server({"ann": LATER})
    server.failure = SendingFailed("the server closed the connection")
    told = talk(tmp_path, server, None, to=parse_correspondents("ann@example.org"), body="text\n")
    assert told.status == os.EX_TEMPFAIL
    assert told.out == "ann@example.org: deferred (451 4.2.0 Not now)\n"
    assert told.err.startswith("Failed: the server closed the connection\nThe text is kept in ")


def test_a_text_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    server = Server({"ann": UNKNOWN})
    (tmp_path / "file").touch()
    dialogue = Talk(tmp_path / "file", server, None, to=parse_correspondents("ann@example.org"), body="text\n")
    assert dialogue.results == [os.EX_NOUSER]
    assert "The text could not be kept: " in dialogue.err.getvalue()


def test_nothing_is_kept_where_nothing_was_written(tmp_path: Path) -> None:
    told = talk(tmp_path, Server({"ann": UNKNOWN}), None, to=parse_correspondents("ann@example.org"))
    assert told.drafts == []


def test_a_text_broken_off_from_outside_is_kept(tmp_path: Path) -> None:
    told = talk(tmp_path, Server(), Person("ann@example.org", "Hello", Interrupted("half a te")))
    assert told.status == exit_status.CANCELLED
    assert told.err.startswith("Cancelled: nothing was sent.\nThe text is kept in ")
    assert told.draft.get_content() == "half a te\n"
    assert told.draft["Subject"] == "Hello"


def test_an_answer_broken_off_from_outside_is_no_text(tmp_path: Path) -> None:
    assert talk(tmp_path, Server(), Person(Interrupted("half an addr"))).drafts == []


def test_cancelling_while_the_server_is_awaited_keeps_the_text(tmp_path: Path) -> None:
    server = Server()
    server.waits = Deferred()
    dialogue = Talk(tmp_path, server, None, to=parse_correspondents("ann@example.org"), body="text\n")
    assert dialogue.results == []
    dialogue.deferred.cancel()
    assert dialogue.told.status == exit_status.CANCELLED
    assert dialogue.told.err.startswith("Interrupted: the message may have been sent or not.\n")
    assert dialogue.told.draft.get_content() == "text\n"


def test_what_a_server_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    server = Server({"ann": Reply(550, "5.1.1", "\x1b[2J\x07gone")})
    told = talk(tmp_path, server, None, to=parse_correspondents("ann@example.org"))
    assert told.out == "ann@example.org: refused (550 5.1.1 \\x1b[2J\\x07gone)\n"


# What goes along, and what is remembered


def test_an_attachment_goes_along_and_its_size_counts(tmp_path: Path) -> None:
    server = Server()
    given = {"to": parse_correspondents("ann@example.org"), "attachments": (Attachment("a.txt", "text/plain", b"x"),)}
    assert talk(tmp_path, server, None, body="text\n", **given).status == 0
    assert b'filename="a.txt"' in server.messages[0]
    assert server.envelope.size == len(server.messages[0])


def test_an_attachment_that_is_gone_when_it_is_sent_keeps_the_text_without_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    gone = Attachment.of_file(tmp_path / "a.txt")
    (tmp_path / "a.txt").unlink()
    told = talk(tmp_path, Server(), None, to=parse_correspondents("ann@example.org"), body="hi\n", attachments=(gone,))
    assert told.status == os.EX_NOINPUT
    assert told.err.startswith("Failed: an attachment cannot be read: No such file or directory\n")
    assert "The attachments could not be kept with it\n" in told.err
    assert told.draft.get_content() == "hi\n"


def test_an_address_beyond_ascii_is_said_in_the_envelope(tmp_path: Path) -> None:
    server = Server()
    talk(tmp_path, server, None, to=parse_correspondents("j\xf6rg@example.org"), body="hi\n")
    assert (server.envelope.eight_bit, server.envelope.utf8_header) == (True, True)
    talk(tmp_path, server, None, to=parse_correspondents("ann@example.org"), body="\xfc\n")
    assert (server.envelope.eight_bit, server.envelope.utf8_header) == (False, False)


def test_only_who_was_accepted_is_remembered(tmp_path: Path) -> None:
    to = parse_correspondents("Ann <ann@example.org>, nobody@example.org")
    talk(tmp_path, Server({"nobody": UNKNOWN}), None, to=to, body="hi\n")
    assert [str(who) for who in AddressBook(tmp_path / "recipients").earlier()] == ["Ann <ann@example.org>"]


def resumed(path: Path) -> dict[str, Any]:
    kept = attrs.asdict(read_draft(path), recurse=False)
    return kept | {"resumed": path}


def test_a_resumed_draft_goes_to_those_who_have_it_not_yet_and_is_removed_when_all_have(tmp_path: Path) -> None:
    to = parse_correspondents("ann@example.org, later@example.org")
    first = talk(tmp_path, Server({"later": LATER}), None, to=to, subject="Hello", body="text\n").drafts
    second = talk(tmp_path, Server({"later": LATER}), None, **resumed(first[0])).drafts
    assert len(second) == 1
    assert second != first
    server = Server()
    assert talk(tmp_path, server, None, **resumed(second[0])) == Told(
        0, "later@example.org: accepted (250 2.0.0 Stored)\n", "", []
    )
    assert b"\r\nTo: ann@example.org,\r\n later@example.org\r\nSubject: Hello\r\n" in server.messages[0]


def test_who_gives_up_a_resumed_draft_still_has_it(tmp_path: Path) -> None:
    to = parse_correspondents("later@example.org")
    (path,) = talk(tmp_path, Server({"later": LATER}), None, to=to, body="text\n").drafts
    told = talk(tmp_path, Server({"later": UNKNOWN}), Person(Cancelled()), **resumed(path))
    assert (told.status, told.drafts) == (exit_status.CANCELLED, [path])


def test_the_scripted_person_is_a_prompter() -> None:
    assert verifyObject(IPrompter, Person())
