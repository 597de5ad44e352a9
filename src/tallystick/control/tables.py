"""The tables of the config store, and the schema revision that this code reads and writes.

A nested value (an endpoint with its configs, a resolved model) is one JSON document in one row: it is always read
and replaced as a whole, and a field that gets a default needs no migration. Only what is looked up by, or must be
unique, has a column.
"""

from __future__ import annotations

import sqlalchemy as sa

#: Newest migration. Revisions are plain numbers, so that "made by a newer version" can be told.
SCHEMA_REVISION = 1

#: `PRAGMA application_id` of our SQLite files: "TALY".
APPLICATION_ID = 0x54414C59

#: Not Alembic's usual name: a database shared with MLflow has an `alembic_version` of its own.
VERSION_TABLE = "tallystick_schema"

metadata = sa.MetaData()

installation = sa.Table(
    "tallystick_installation",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
)

endpoints = sa.Table(
    "tallystick_endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("document", sa.Text, nullable=False),
)

tokens = sa.Table(
    "tallystick_tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("is_admin", sa.Boolean, nullable=False),
    sa.Column("creation_time_ms", sa.BigInteger, nullable=False),
    sa.Column("expiry_time_ms", sa.BigInteger),
    sa.Column("comment", sa.Text, nullable=False),
)

secret_scopes = sa.Table(
    "tallystick_secret_scopes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
)

secrets = sa.Table(
    "tallystick_secrets",
    metadata,
    sa.Column("scope", sa.Text, sa.ForeignKey("tallystick_secret_scopes.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("last_updated_ms", sa.BigInteger, nullable=False),
)

resolved_models = sa.Table(
    "tallystick_resolved_models",
    metadata,
    sa.Column("served_entity_id", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

counters = sa.Table(
    "tallystick_counters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
