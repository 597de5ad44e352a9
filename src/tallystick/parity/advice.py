"""What to do about a cause, and what would settle an open question; never "train again" while a fault may be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What has to be asked of an endpoint before a new model is trained.
DIGESTS = "digests of what the replicas serve"
ENVIRONMENT = "the environment compared with training's"

_FIXES: dict[str, str] = {
    "numeric_as_text": "send numbers as JSON numbers; parse text where the request is made",
    "decimal_comma": "format numbers without locale in the client",
    "boolean_as_text": "send true and false as JSON booleans, in training's words if it had words",
    "letter_case": "normalise levels inside the saved pipeline, or send them as training had them",
    "whitespace": "strip levels where they are read",
    "encoding_damage": "read and send text as UTF-8, once, without escaping",
    "renamed_level": "map the new name to the old one before the request, until a model knows it",
    "new_level": "decide what the model should do with a level it never saw; map it, or refuse it",
    "null_token": "send null for a missing value",
    "unreadable": "send numbers as finite JSON numbers and times as ISO 8601, in training's type",
    "missing_column": "send the column",
    "extra_column": "do not send the column, or add it to the signature",
    "renamed_column": "send the column under training's name",
    "epoch_unit": "send times in training's unit",
    "day_month_swapped": "send dates as ISO 8601",
    "lossy_cast": "send the fraction; the column is no integer",
    "standardized": "do not scale in the client: the model expects raw values",
    "standardized_twice": "scale once: either in the client or in the pipeline",
    "not_standardized": "put the fitted scaler into the saved pipeline",
    "wrong_scaler": "scale each column with its own constants; check the order of columns",
    "minmax_scaled": "do not scale in the client: the model expects raw values",
    "log": "do not take the logarithm before the request",
    "exp": "take the logarithm that training took, inside the saved pipeline",
    "unit": "convert to training's unit where the request is made",
    "affine_unit": "convert to training's unit where the request is made",
    "affine": "find the step that moves the values; it is not in the model",
    "clipped": "clip as in training, inside the saved pipeline",
    "category_relabelled": "save the encoder with the model; do not fit it again",
    "nulls": "find the lookup that returns nothing",
    "default_fill": "find the lookup that times out or the client that fills; send null instead of a default",
    "constant": "find the source that is stuck",
    "stale": "check the key and the time of the join that fetches the column",
    "feature_absent": "train without the column: it is not known when predictions are made",
    "window_changed": "aggregate over training's window",
    "aggregate_changed": "aggregate as in training",
    "columns_swapped": "send columns by name, not by position",
    "column_shift": "send columns by name; look for a lost separator or an index column",
    "time_zone": "send hours in training's time zone",
    "rounded": "send all digits, and times with their time of day",
    "float32": "send 64-bit floats",
    "sign_flip": "restore the sign where the request is made",
    "class_order": "read probabilities by class name, not by position",
    "sampling_prior": "undo the sampling: subtract the logarithm of the rate from the log-odds",
    "prediction_differs": "compare versions and libraries of the endpoint with training's",
    "step_differs": "make the step of serving the step of training: save it with the model, fitted",
    "environment_differs": "serve in training's environment: pin the packages named, and build it again",
    "wrong_version": "restart the replica with the version that was asked for, and check what it loads",
}


def fix_for(kind: str, transformation: Mapping[str, Any] | None = None) -> str:
    """Return what mends a cause, in a sentence; empty for changes of the population."""
    if kind == "stale" and leads(transformation or {}):
        return (
            "training is to blame: its rows were joined with values from after their time. Join as of the row's time, "
            "then train again"
        )
    if kind == "new_level" and "role" in (transformation or {}):
        return "send a number, or null; the column holds text that is none"
    if kind == "stale" and (transformation or {}).get("all_columns"):
        return f"compare the clocks and time zones of the source and of the rows first; then {_FIXES[kind]}"
    return _FIXES.get(kind, "")


def leads(transformation: Mapping[str, Any]) -> bool:
    """Whether training had values from after its rows' times, which no serving can have.

    >>> leads({"lag_s": 0.0, "training_lag_s": -86400.0}), leads({"lag_s": 86400.0})
    (True, False)
    """
    return float(transformation.get("training_lag_s") or 0.0) < 0


def before_training(is_replayed: bool, is_routing_cleared: bool, is_environment_compared: bool) -> tuple[str, ...]:
    """Return what must be clear before a change of the population is a reason to train; empty when all of it is.

    >>> before_training(True, True, True)
    ()
    """
    steps = []
    if not is_routing_cleared:
        steps.append(DIGESTS)
    if not is_replayed:
        steps.append("golden rows replayed through the endpoint, before a new model is trained")
    elif not is_environment_compared:
        steps.append(ENVIRONMENT)
    return tuple(steps)


def settle(kind: str, has_model: bool, rows: int, enough: int) -> tuple[str, ...]:
    """Return what would turn a suspicion into a proof, cheapest first."""
    if kind == "environment_differs":
        return ("golden rows predicted in training's environment, one package at a time",)
    steps = []
    if rows < 2 * enough:
        steps.append(f"more rows: {rows} were judged")
    if not has_model:
        steps.append("the model: undoing the cause on live rows must bring training's scores back")
    if kind in ("stale", "category_relabelled", "columns_swapped", "affine", "default_fill", "constant"):
        steps.append("one row whose true values are known, sent through the same path")
    return tuple(steps)
