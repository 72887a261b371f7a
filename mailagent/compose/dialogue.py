"""From what the command line said to a message sent: asks for what is missing, and tells what became of it.

Guarantees: nothing is sent unless it is complete and, on a terminal, ended by the person; every recipient's result is
shown with the server's reply; a text that did not reach every recipient is kept in a file, whose name is shown,
unless the person gave it up; a draft that was resumed is removed once all have it, or once it is kept anew.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from mailagent.compose import exit_status
from mailagent.compose.address_book import AddressBook
from mailagent.compose.completion import written
from mailagent.compose.correspondent import BadAddress, Correspondent, parse_correspondent, parse_correspondents
from mailagent.compose.draft import Draft
from mailagent.compose.draft_folder import DraftFolder, NotKept
from mailagent.compose.given import Given
from mailagent.compose.prompt import Cancelled, Interrupted, IPrompter
from mailagent.compose.submit import Submission
from mailagent.compose.teller import Teller
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.message_id import message_id
from mailagent.envelope.printable import printable
from mailagent.smtp.sending_failed import SendingFailed

_NOTHING_SENT = "Cancelled: nothing was sent."
_Answer = TypeVar("_Answer")


@attrs.define
class Dialogue:
    """One message. With no C{prompter} there is nobody to ask: then C{given} holds all that is needed."""

    _given: Given
    _submission: Submission
    _drafts: DraftFolder
    _clock: IReactorTime
    _teller: Teller
    _book: AddressBook
    _prompter: IPrompter | None = None
    _draft: Draft | None = attrs.field(default=None, init=False)
    _id: str = attrs.field(init=False)
    _sending: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._id = message_id(int(self._clock.seconds() * 1e6), secrets.randbits(30))

    async def run(self) -> int:
        """Do all of it.

        @return: the exit status (see L{exit_status}).
        """
        try:
            return await self._send(await self._complete())
        except Cancelled:
            self._say(_NOTHING_SENT)
            self._keep()  # a text that was finished: it is the password that the person gave up
            return exit_status.CANCELLED
        except (Interrupted, CancelledError):
            self._complain("Interrupted: the message may have been sent or not." if self._sending else _NOTHING_SENT)
            self._keep()
            return exit_status.CANCELLED
        except SendingFailed as failure:
            self._complain(f"Failed: {failure.reason}")
            self._teller.show(failure.outcomes)
            self._keep()
            return exit_status.of_failure(failure)
        except OSError as error:
            self._complain(f"Failed: an attachment cannot be read: {error.strerror or error}")
            self._keep()
            return os.EX_NOINPUT

    async def _complete(self) -> Draft:
        if self._prompter is None:
            assert self._given.sender is not None
            self._draft = self._given.draft(self._given.sender)
            return self._draft
        return await self._interview(self._prompter)

    async def _interview(self, prompter: IPrompter) -> Draft:
        given, sender = self._given, self._given.sender
        if sender is None:
            sender = await self._ask(prompter.ask, "From: ", parse_correspondent)
        draft = await self._with_recipients(prompter, given.draft(sender))
        if given.subject is None:
            draft = attrs.evolve(draft, subject=await prompter.ask("Subject: "))
        if given.body is None:
            draft = attrs.evolve(draft, body=await self._compose(prompter, draft))
        self._draft = draft
        return draft

    async def _with_recipients(self, prompter: IPrompter, draft: Draft) -> Draft:
        """The draft with at least one recipient, and none that the server refuses for good."""
        passed: set[Address] = set()
        while True:
            while not draft.recipients:
                draft = attrs.evolve(draft, to=await self._recipients(prompter, "To: "))
            refused = await self._check(draft, passed)
            if not refused:
                return draft
            for recipient in refused:
                label = f"Instead of {printable(str(recipient))} (empty: leave out): "
                mistaken = written(draft.correspondent(recipient))
                draft = draft.replacing(recipient, await self._recipients(prompter, label, mistaken))

    async def _check(self, draft: Draft, passed: set[Address]) -> list[Address]:
        """Those the server refuses, of the recipients that have not C{passed} yet; the others then have.

        One that the server only defers passes, with a word: until the text is written that may be over.
        """
        unchecked = tuple(recipient for recipient in draft.recipients if recipient not in passed)
        if not unchecked:
            return []
        outcomes = await self._submission.check(Envelope(draft.sender.address, unchecked))
        self._teller.show(outcome for outcome in outcomes if not outcome.delivered)
        passed.update(outcome.recipient for outcome in outcomes if not outcome.failed)
        return [outcome.recipient for outcome in outcomes if outcome.failed]

    async def _recipients(self, prompter: IPrompter, label: str, typed: str = "") -> tuple[Correspondent, ...]:
        return await self._ask(prompter.ask_recipients, label, parse_correspondents, typed)

    async def _ask(
        self, ask: Callable[[str, str], Awaitable[str]], label: str, parse: Callable[[str], _Answer], typed: str = ""
    ) -> _Answer:
        """An answer that makes sense; one that does not is there to be corrected."""
        while True:
            typed = await ask(label, typed)
            try:
                return parse(typed)
            except BadAddress as error:
                self._say(str(error))

    async def _compose(self, prompter: IPrompter, draft: Draft) -> str:
        try:
            return await prompter.compose("(^C to cancel) | (^D to send)\nEnter email message:\n")
        except Interrupted as interruption:
            self._draft = attrs.evolve(draft, body=interruption.text)
            raise

    async def _send(self, draft: Draft) -> int:
        message = draft.on_the_wire(self._clock.seconds(), self._id)
        size, utf8 = message.size, draft.utf8_header
        envelope = Envelope(draft.sender.address, draft.recipients, size, eight_bit=utf8, utf8_header=utf8)
        self._sending = True
        outcomes = await self._submission.submit(envelope, self._teller.progress(message, size))
        self._teller.show(outcomes)
        accepted = {outcome.recipient for outcome in outcomes if outcome.delivered}
        now = tuple(who for who in (*draft.to, *draft.cc, *draft.bcc) if who.address in accepted)
        self._book.remember(now)
        status = exit_status.of_outcomes(outcomes)
        if status != exit_status.ALL_ACCEPTED:
            self._draft = attrs.evolve(draft, accepted=draft.accepted + now)
            self._keep()
        elif self._given.resumed is not None:
            self._given.resumed.unlink(missing_ok=True)
        return status

    def _keep(self) -> None:
        """Save the text, if any was written, and say where it is."""
        if self._draft is None or not (self._draft.body or self._draft.attachments):
            return
        try:
            path = self._kept(self._draft)
        except NotKept as error:
            self._complain(f"The text could not be kept: {error}")
            return
        self._complain(f"The text is kept in {path}")
        if self._given.resumed is not None:
            self._given.resumed.unlink(missing_ok=True)

    def _kept(self, draft: Draft) -> Path:
        name, now = f"{self._id}.eml", self._clock.seconds()
        try:
            return self._drafts.keep(name, draft.for_keeping(now, self._id))
        except NotKept:
            if not draft.attachments:
                raise
        path = self._drafts.keep(name, attrs.evolve(draft, attachments=()).for_keeping(now, self._id))
        self._complain("The attachments could not be kept with it")
        return path

    def _say(self, text: str) -> None:
        self._teller.say(text)

    def _complain(self, text: str) -> None:
        self._teller.complain(text)
