"""The part of a report that programs read: C{message/delivery-status} (RFC 3464 section 2).

Where something in it is not ASCII it becomes C{message/global-delivery-status} (RFC 6533), in UTF-8. Nothing that came
from elsewhere can end a line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from mailagent.envelope.printable import printable
from mailagent.queue.items import StoredMessage
from mailagent.queue.notification import Notification

#: Octets of a line, at most: RFC 5322 section 2.1.1 allows 998.
_MAX_LINE = 900
_WIDTH = 76
#: Characters of a text from elsewhere, at most.
_MAX_TEXT = 800


def date(timestamp: float) -> str:
    """A moment as header fields have it.

    @param timestamp: seconds since the epoch.
    """
    return format_datetime(datetime.fromtimestamp(int(timestamp), UTC))


def plain(text: str, international: bool) -> str:
    """Text from elsewhere on one line of bounded length. What does not belong there is escaped: whatever is not ASCII,
    if the report is not C{international}."""
    text = printable(" ".join(text.splitlines()))
    return (text if international else text.encode("ascii", "backslashreplace").decode("ascii"))[:_MAX_TEXT]


def fold(text: str) -> list[str]:
    """One line of text as several, none too long. A word is cut only where it would not fit any line."""
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [line.encode()[:_MAX_LINE].decode("utf-8", "ignore") for line in lines]


def delivery_status(message: StoredMessage, told: Sequence[Notification], hostname: str, international: bool) -> str:
    """The body of the part: the fields of the message, and a block of fields for each recipient."""
    envelope_id = message.envelope.envelope_id
    fields = [
        "" if envelope_id is None else f"Original-Envelope-Id: {plain(envelope_id, False)[:_MAX_LINE]}",
        f"Reporting-MTA: dns; {hostname}",
        f"Arrival-Date: {date(message.created)}",
    ]
    blocks = [fields, *(_recipient(each, international) for each in told)]
    return "\n".join("".join(f"{field}\n" for field in block if field) for block in blocks)


def _recipient(told: Notification, international: bool) -> list[str]:
    """The fields of one recipient; empty ones stand for those that are not there."""
    original, address = told.recipient.notify.original, str(told.recipient.address)
    return [
        f"Original-Recipient: {_address(*original, international)}" if original else "",
        f"Final-Recipient: {_address('rfc822' if address.isascii() else 'utf-8', address, international)}",
        f"Action: {told.action}",
        f"Status: {told.status}",
        f"Remote-MTA: dns; {plain(told.host, international)[: _MAX_LINE // 4]}" if told.host else "",
        _diagnostic(told, international),
        "" if told.tried is None else f"Last-Attempt-Date: {date(told.tried)}",
        "" if told.until is None else f"Will-Retry-Until: {date(told.until)}",
    ]


def _address(kind: str, address: str, international: bool) -> str:
    return f"{plain(kind, False)}; {plain(address, international)}".encode()[:_MAX_LINE].decode("utf-8", "ignore")


def _diagnostic(told: Notification, international: bool) -> str:
    """The last reply. One of our own has not been said by any server, and does not pretend to (section 2.3.6)."""
    if told.reply is None:
        return ""
    kind = "smtp" if told.host else "x-mailagent"
    return "\n ".join(fold(f"Diagnostic-Code: {kind}; {plain(str(told.reply), international)}"))
