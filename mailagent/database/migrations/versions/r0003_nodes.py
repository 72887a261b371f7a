"""What nodes that share a database must know of each other. What older versions of the server write without the new
columns gets their defaults."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make it."""
    op.add_column("nodes", sa.Column("lease", sa.Double, nullable=False, server_default="60"))
    op.add_column("nodes", sa.Column("tables", sa.Text, nullable=False, server_default="0002"))
    key = sa.Column("id", sa.Integer, primary_key=True)
    compatibility = op.create_table("compatibility", key, sa.Column("oldest", sa.Text, nullable=False))
    op.bulk_insert(compatibility, [{"id": 1, "oldest": "0001"}])
