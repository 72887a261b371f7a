"""What each node has found out for itself about a destination, which process a node is, and which database this is.
Older versions of the server know nothing of these, and hold destinations for all nodes at once."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make it."""
    op.create_table(
        "holds",
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.add_column("nodes", sa.Column("process", sa.Text, nullable=False, server_default=""))
    key = sa.Column("id", sa.Integer, primary_key=True)
    identity = op.create_table("identity", key, sa.Column("token", sa.Text, nullable=False))
    op.bulk_insert(identity, [{"id": 1, "token": secrets.token_hex(16)}])
