"""When a destination with a rate gets its next message. Older versions of the server know no rates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make it."""
    op.add_column("destinations", sa.Column("next_at", sa.Double, nullable=False, server_default="0"))
