"""Serve MLflow models over HTTP, split live traffic, and prove that training and serving agree."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.gate.stages import stage
    from tallystick.tables import table
    from tallystick.training.autolog import autolog
    from tallystick.training.log import log_model, save_model

__all__ = ["autolog", "log_model", "save_model", "stage", "table"]

#: Where each public name is; imported when it is asked for. A gateway imports this package too, and has no use for
#: Arrow, pandas or MLflow.
_PLACES = {
    "autolog": "tallystick.training.autolog",
    "log_model": "tallystick.training.log",
    "save_model": "tallystick.training.log",
    "stage": "tallystick.gate.stages",
    "table": "tallystick.tables",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
