"""What is settled of a message before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import attrs

from mailagent.compose.attachment import Attachment
from mailagent.compose.correspondent import Correspondent
from mailagent.compose.draft import Draft
from mailagent.compose.resume import Kept


@attrs.frozen
class Given:
    """What the command line, a kept draft or standard input has settled; C{None} and no recipients are asked for.

    @ivar accepted: recipients who have the message already.
    @ivar resumed: the file of the draft.
    """

    sender: Correspondent | None = None
    to: tuple[Correspondent, ...] = ()
    cc: tuple[Correspondent, ...] = ()
    bcc: tuple[Correspondent, ...] = ()
    subject: str | None = None
    body: str | None = None
    attachments: tuple[Attachment, ...] = ()
    accepted: tuple[Correspondent, ...] = ()
    resumed: Path | None = None

    def draft(self, sender: Correspondent) -> Draft:
        """A draft of what is given, the rest empty."""
        groups = self.to, self.cc, self.bcc
        return Draft(sender, *groups, self.subject or "", self.body or "", self.attachments, self.accepted)

    def resuming(self, kept: Kept, path: Path) -> Given:
        """What a draft kept in the file C{path} says, where this does not say otherwise; attachments are joined."""
        return Given(
            sender=self.sender or kept.sender,
            to=self.to or kept.to,
            cc=self.cc or kept.cc,
            bcc=self.bcc or kept.bcc,
            subject=kept.subject if self.subject is None else self.subject,
            body=self.body or kept.body or None,
            attachments=kept.attachments + self.attachments,
            accepted=kept.accepted,
            resumed=path,
        )
