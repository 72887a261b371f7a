"""Which mailbox gets which copy of a message."""

from __future__ import annotations

from collections.abc import Sequence

from mailagent.config import user_key
from mailagent.envelope.address import Address
from mailagent.envelope.copy import Copy
from mailagent.envelope.mailbox import Mailbox
from mailagent.envelope.trace import delivery_fields
from mailagent.reception.recipient import Recipient


def copies(sender: Address | None, recipients: Sequence[Recipient], header: bytes) -> list[Copy]:
    """A copy for every recipient; who is reached by an alias of several as well gets no second one.

    @param header: the fields that all copies have, LF-ended.
    """
    originals: dict[tuple[Mailbox, str], Address] = {}
    for recipient in recipients:
        if len(recipient.mailboxes) == 1:
            address = recipient.address
            key = f"{user_key(address.local)}@{address.host}"
            originals.setdefault((recipient.mailboxes[0], key), address)
    reached = {mailbox for mailbox, _ in originals}
    for recipient in recipients:
        for mailbox in recipient.mailboxes:
            if mailbox not in reached:
                reached.add(mailbox)
                originals[mailbox, ""] = recipient.address
    return [
        Copy(mailbox, delivery_fields(sender, mailbox.owner, original) + header)
        for (mailbox, _), original in originals.items()
    ]
