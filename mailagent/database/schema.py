"""The tables, as the newest migration leaves them.

Moments are seconds since the epoch. A reverse-path of C{''} is the null one. What is C{queued} and has no lease waits,
and only that is in the indexes by which work is found: they stay small, whatever history there is.

C{destinations.ready} is the moment from which something can be claimed there: the latest of C{held_until}, C{next_at}
(where there is a rate) and the earliest C{due} of what waits; NULL where nothing waits. Each transaction that changes
one of them keeps it right. C{holds} are of one node each: what it could not reach, others may.

A node that has been silent for longer than its C{lease}, in seconds, is thought dead; C{tables} is the L{VERSION}
it was made for; C{process}, a token of its own for each time it starts. C{compatibility} has one row: servers made for
tables older than its C{oldest} cannot serve. So has C{identity}, whose C{token} tells this database from others.

Who receives mail here, where the database is asked for that: a host that is C{shared} has the names with the host
C{''}, any other has names of its own. C{key} is the form in which two spellings of a name are equal; the alias C{''} is
the catch-all. Users without a C{verifier} have a mailbox and no login. C{directory} has one row, and each change makes
its C{version} greater.
"""

from __future__ import annotations

import sqlalchemy as sa

from mailagent.database.moment import database_now

#: The newest migration.
VERSION = "0005"

#: The condition under which a recipient waits. Without parameters, so that it is seen to be that of the indexes.
WAITS = "state = 'queued' AND lease_token IS NULL"

metadata = sa.MetaData()
_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # an INTEGER, so that it is SQLite's rowid


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null)


def _moment(name: str, *, null: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=null)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=null)


def _index(name: str, *columns: str, where: str | None = None, unique: bool = False) -> sa.Index:
    condition = None if where is None else sa.text(where)
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("name"),
    _text("version"),
    _moment("started"),
    _moment("heartbeat"),
    sa.Column("lease", sa.Double, nullable=False, server_default="60"),
    sa.Column("tables", sa.Text, nullable=False, server_default="0002"),
    sa.Column("process", sa.Text, nullable=False, server_default=""),
)

#: Whether a node lives: it keeps its own promise, whatever the others' is.
ALIVE = nodes.c.heartbeat > database_now() - nodes.c.lease

compatibility = sa.Table("compatibility", metadata, sa.Column("id", sa.Integer, primary_key=True), _text("oldest"))

identity = sa.Table("identity", metadata, sa.Column("id", sa.Integer, primary_key=True), _text("token"))

messages = sa.Table(
    "messages",
    metadata,
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
    sa.Column("body", sa.LargeBinary),  # of a small message; a large one has chunks
    _number("chunks"),
    _moment("finished", null=True),  # when its last recipient was
    _index("messages_finished", "finished", where="finished IS NOT NULL"),
)

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("message_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("octets", sa.LargeBinary, nullable=False),
)

#: Messages whose chunks are written before they are published.
staged = sa.Table(
    "staged",
    metadata,
    sa.Column("message_id", sa.Text, primary_key=True),
    _moment("created"),
    _index("staged_created", "created"),
)

recipients = sa.Table(
    "recipients",
    metadata,
    sa.Column("id", _Id, primary_key=True),
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
    _number("reply_code", null=True),  # the last reply, and whose it was
    _text("reply_status"),
    _text("reply_text"),
    _text("host"),
    _index("recipients_message", "message_id", "destination"),
    _index("recipients_due", "destination", "due", where=WAITS),
    _index("recipients_overdue", "delay_told", "created", where=WAITS),
    _index("recipients_leased", "lease_node", where="lease_node IS NOT NULL"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("recipient_id", _Id, sa.ForeignKey("recipients.id", ondelete="CASCADE"), nullable=False),
    _moment("at"),
    sa.Column("seconds", sa.Double, nullable=False),
    _text("host"),
    _text("address"),
    _text("tls"),
    _number("code"),
    _text("status"),
    _text("text"),
    _index("attempts_recipient", "recipient_id"),
)

destinations = sa.Table(
    "destinations",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _moment("ready", null=True),
    _moment("held_until"),
    _text("reason"),
    sa.Column("next_at", sa.Double, nullable=False, server_default="0"),
    _index("destinations_ready", "ready"),
)

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
    _moment("until"),
    _text("reason"),
)

directory = sa.Table(
    "directory",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),  # by which names that nobody has get salts that stay the same
)

hosts = sa.Table("hosts", metadata, sa.Column("name", sa.Text, primary_key=True), _flag("shared"))

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    _text("host"),
    _text("name"),
    _text("key"),
    _text("verifier", null=True),
    _text("addresses"),  # with commas between them
    _index("users_name", "host", "key", unique=True),
)

#: A row for each target.
aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    _text("host"),
    _text("name"),
    _text("key"),
    _text("target"),
    _index("aliases_name", "host", "key", "target", unique=True),
)
