"""The tables of hosts, users and aliases. Older versions of the server do not look at them."""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them; only C{directory} has a row."""
    directory = op.create_table(
        "directory",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(directory, [{"id": 1, "version": 0, "secret": os.urandom(32)}])
    shared = sa.Column("shared", sa.Boolean, nullable=False)
    op.create_table("hosts", sa.Column("name", sa.Text, primary_key=True), shared)
    _make_names("users", sa.Column("verifier", sa.Text), _text("addresses"))
    op.create_index("users_name", "users", ["host", "key"], unique=True)
    _make_names("aliases", _text("target"))
    op.create_index("aliases_name", "aliases", ["host", "key", "target"], unique=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _make_names(table: str, *columns: sa.Column[str]) -> None:
    key = sa.Column("id", _ID, primary_key=True)
    op.create_table(table, key, _text("host"), _text("name"), _text("key"), *columns)
