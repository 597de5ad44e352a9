"""Alembic migrations of the config store; run by `control.database` at start, never by hand."""
