"""The queue's first tables (see L{mailagent.database.schema} for what they mean)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_WAITS = "state = 'queued' AND lease_token IS NULL"
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    _make_nodes()
    _make_messages()
    _make_recipients()
    _make_destinations()


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null)


def _moment(name: str, *, null: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=null)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=null)


def _index(table: str, suffix: str, *columns: str, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(f"{table}_{suffix}", table, list(columns), sqlite_where=condition, postgresql_where=condition)


def _make_nodes() -> None:
    key = sa.Column("id", sa.Text, primary_key=True)
    op.create_table("nodes", key, _text("name"), _text("version"), _moment("started"), _moment("heartbeat"))


def _make_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        _moment("created"),
        _text("reverse_path"),
        _text("report_to", null=True),
        _text("login"),
        _number("size", null=True),
        _flag("eight_bit"),
        _flag("utf8_header"),
        _text("returned", null=True),
        _text("envelope_id", null=True),
        _flag("require_tls"),
        sa.Column("header", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary),
        _number("chunks"),
        _moment("finished", null=True),
    )
    _index("messages", "finished", "finished", where="finished IS NOT NULL")
    op.create_table(
        "chunks",
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("octets", sa.LargeBinary, nullable=False),
    )
    op.create_table("staged", sa.Column("message_id", sa.Text, primary_key=True), _moment("created"))
    _index("staged", "created", "created")


def _make_recipients() -> None:
    op.create_table(
        "recipients",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("message_id", sa.Text, sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
        _text("address"),
        _text("destination"),
        _text("notify"),
        _text("original_type", null=True),
        _text("original", null=True),
        _text("state"),
        _number("attempts"),
        _moment("created"),
        _moment("due"),
        _text("lease_node", null=True),
        _text("lease_token", null=True),
        _flag("delay_told"),
        _moment("finished", null=True),
        _number("reply_code", null=True),
        _text("reply_status"),
        _text("reply_text"),
        _text("host"),
    )
    _index("recipients", "message", "message_id", "destination")
    _index("recipients", "due", "destination", "due", where=_WAITS)
    _index("recipients", "overdue", "delay_told", "created", where=_WAITS)
    _index("recipients", "leased", "lease_node", where="lease_node IS NOT NULL")
    op.create_table(
        "attempts",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("recipient_id", _ID, sa.ForeignKey("recipients.id", ondelete="CASCADE"), nullable=False),
        _moment("at"),
        sa.Column("seconds", sa.Double, nullable=False),
        _text("host"),
        _text("address"),
        _text("tls"),
        _number("code"),
        _text("status"),
        _text("text"),
    )
    _index("attempts", "recipient", "recipient_id")


def _make_destinations() -> None:
    name = sa.Column("name", sa.Text, primary_key=True)
    op.create_table("destinations", name, _moment("ready", null=True), _moment("held_until"), _text("reason"))
    _index("destinations", "ready", "ready")
