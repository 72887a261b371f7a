"""How the queue's values look in rows, and back.

What comes back is checked: a row is as trustworthy as the disk, and as those who mend databases by hand. One that
makes no sense raises L{UnreadableRow}.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from mailagent.database.schema import messages
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.queued import QueuedMessage
from mailagent.envelope.reply import Reply
from mailagent.queue.items import QUEUED, QueuedRecipient, StoredMessage

#: Longest text of a peer that is kept, in characters.
_MAX_TEXT = 2000
_ADDRESS = re.compile(r'(?s)(?:"((?:[^"\\]|\\.)*)"|([^"@]+))(?:@([^@]+))?')
#: The columns of a message that L{read_message} reads, its content apart.
ENVELOPE = [column for column in messages.c if column.name not in ("body", "finished")]
_CONDITIONS = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})


class UnreadableRow(ValueError):
    """A row makes no sense; the text says which column."""


def storable(text: str) -> str:
    """A peer's text, fit to be stored: bounded, valid Unicode, no NUL (which PostgreSQL does not take)."""
    return text[:_MAX_TEXT].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def path_text(address: Address | None) -> str:
    """An address as it is stored; the null one is empty."""
    return "" if address is None else str(address)


def path(text: str) -> Address | None:
    """What L{path_text} has written.

    @raise ValueError: it has not.
    """
    if not text:
        return None
    found = _ADDRESS.fullmatch(text)
    if found is not None:
        quoted, bare, domain = found.groups(default="")
        address = Address(bare or re.sub(r"(?s)\\(.)", r"\1", quoted), domain)
        if str(address) == text:
            return address
    raise ValueError("not an address")


def message_row(message: QueuedMessage, body: bytes | None, chunks: int, now: float) -> dict[str, Any]:
    """A new message's row."""
    envelope = message.envelope
    return {
        "id": message.id,
        "created": now,
        "reverse_path": path_text(envelope.reverse_path),
        "report_to": None if message.report_to is None else str(message.report_to),
        "login": message.login,
        "size": envelope.size,
        "eight_bit": envelope.eight_bit,
        "utf8_header": envelope.utf8_header,
        "returned": envelope.returned,
        "envelope_id": envelope.envelope_id,
        "require_tls": envelope.require_tls,
        "header": message.header,
        "body": body,
        "chunks": chunks,
    }


def recipient_row(message: QueuedMessage, recipient: Address, now: float) -> dict[str, Any]:
    """A new recipient's row."""
    notify = message.envelope.wishes(recipient)
    original_type, original = notify.original or (None, None)
    return {
        "message_id": message.id,
        "address": str(recipient),
        "destination": recipient.host,
        "notify": ",".join(sorted(notify.conditions)),
        "original_type": original_type,
        "original": original,
        "state": QUEUED,
        "attempts": 0,
        "created": now,
        "due": now,
        "delay_told": False,
        "reply_status": "",
        "reply_text": "",
        "host": "",
    }


def read_message(row: sa.RowMapping) -> StoredMessage:
    """A message from its row.

    @raise UnreadableRow: it makes no sense.
    """
    report_to = _column(row, "report_to", str, type(None))
    envelope = Envelope(
        _address(row, "reverse_path", null=True),
        (),
        size=_column(row, "size", int, type(None)),
        eight_bit=_column(row, "eight_bit", bool),
        utf8_header=_column(row, "utf8_header", bool),
        returned=_column(row, "returned", str, type(None)),
        envelope_id=_column(row, "envelope_id", str, type(None)),
        require_tls=_column(row, "require_tls", bool),
    )
    return StoredMessage(
        _column(row, "id", str),
        _column(row, "created", float),
        envelope,
        _column(row, "header", bytes),
        _column(row, "chunks", int),
        None if report_to is None else _address(row, "report_to"),
        _column(row, "login", str),
        _column(row, "small", bytes, type(None)) if "small" in row else None,
    )


def read_recipient(row: sa.RowMapping) -> QueuedRecipient:
    """A recipient from its row.

    @raise UnreadableRow: it makes no sense.
    """
    conditions = frozenset(_column(row, "notify", str).split(",")) - {""}
    if not conditions <= _CONDITIONS:
        raise UnreadableRow("notify")
    original_type, original = (_column(row, name, str, type(None)) for name in ("original_type", "original"))
    code = _column(row, "reply_code", int, type(None))
    status, text = _column(row, "reply_status", str), _column(row, "reply_text", str)
    address = _address(row, "address")
    assert address is not None
    _column(row, "destination", str)
    return QueuedRecipient(
        _column(row, "id", int),
        address,
        Notify(conditions, None if original_type is None or original is None else (original_type, original)),
        _column(row, "attempts", int),
        _column(row, "due", float),
        _column(row, "delay_told", bool),
        None if code is None else Reply(code, status, text),
        _column(row, "host", str),
    )


def is_text(value: object) -> bool:
    """Whether a value is text, and valid Unicode: nothing else can be looked for in the database."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _column(row: sa.RowMapping, name: str, *kinds: type) -> Any:
    """A column's value, which is of one of these C{kinds}; text is valid Unicode."""
    value = row[name]
    if not isinstance(value, kinds) or (isinstance(value, str) and not is_text(value)):
        raise UnreadableRow(name)
    return value


def _address(row: sa.RowMapping, name: str, *, null: bool = False) -> Address | None:
    try:
        address = path(_column(row, name, str))
    except ValueError:
        raise UnreadableRow(name) from None
    if address is None and not null:
        raise UnreadableRow(name)
    return address
