"""First tables. Written out, not taken from `tables`: what revision 1 made never changes again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Create every table of the first version."""
    op.create_table("tallystick_installation", sa.Column("id", sa.Text, primary_key=True))
    op.create_table(
        "tallystick_endpoints",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "tallystick_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("creation_time_ms", sa.BigInteger, nullable=False),
        sa.Column("expiry_time_ms", sa.BigInteger),
        sa.Column("comment", sa.Text, nullable=False),
    )
    op.create_table("tallystick_secret_scopes", sa.Column("name", sa.Text, primary_key=True))
    op.create_table(
        "tallystick_secrets",
        sa.Column(
            "scope", sa.Text, sa.ForeignKey("tallystick_secret_scopes.name", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("last_updated_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tallystick_resolved_models",
        sa.Column("served_entity_id", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "tallystick_counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
