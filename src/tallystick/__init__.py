"""Serve MLflow models over HTTP, split live traffic, and prove that training and serving agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.tables import table

__all__ = ["table"]


def __getattr__(name: str) -> Any:
    # A gateway imports this package too, and has no use for Arrow.
    if name == "table":
        from tallystick.tables import table

        return table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
