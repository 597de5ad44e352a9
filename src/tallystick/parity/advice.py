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
    "encoding_damage": "read and send text as UTF-8, once, without escaping or transcribing it",
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


#: What would settle a suspicion, by kind: a question to somebody, or to a row, whose answer may go either way.
_TRUE_ROW = "one row whose true values are known, sent through the same path"
_AT_CLIENT = "one request written down at the client, beside the row that was recorded of it"
_CONVERTED = (
    "the client's code between reading the value and sending it: does it convert or scale it, since which version?"
)
_REQUEST_CODE = "the client's code that builds the request: which columns it sends, and under which names"
_LEVELS = "whoever writes the column at its source: is it a level that training knew, written otherwise, or a new one?"
_SOURCE = "one affected row looked up at the column's source: which value does it have there?"
_QUERY = "the query that makes the column, live and in training: over what time, by which rule?"
_ALL_REPLICAS = "golden rows replayed on each replica"
_LABELS = "labels of some live rows: do they agree with the predictions as they are, or with the fault undone?"
_TABLE = "the table that the column is looked up in, with keys and times (history=): is it what it had at the time?"

_QUESTIONS: dict[str, tuple[str, ...]] = {
    "numeric_as_text": (_AT_CLIENT,),
    "decimal_comma": (_AT_CLIENT, "the locale that the client formats numbers in"),
    "boolean_as_text": (_AT_CLIENT,),
    "letter_case": (_LEVELS,),
    "whitespace": (_LEVELS,),
    "encoding_damage": (_AT_CLIENT,),
    "renamed_level": (_LEVELS,),
    "new_level": (_LEVELS,),
    "null_token": (_LEVELS, _SOURCE),
    "unreadable": (_AT_CLIENT,),
    "missing_column": (_REQUEST_CODE,),
    "extra_column": (_REQUEST_CODE,),
    "renamed_column": (_REQUEST_CODE, _TRUE_ROW),
    "epoch_unit": ("one row whose time is known, sent through the same path",),
    "day_month_swapped": ("one row whose date is known, its day not its month, sent through the same path",),
    "lossy_cast": (_AT_CLIENT,),
    "standardized": (_AT_CLIENT, _CONVERTED),
    "standardized_twice": (_AT_CLIENT, _CONVERTED),
    "not_standardized": (_AT_CLIENT, _CONVERTED),
    "wrong_scaler": (_TRUE_ROW, "the constants and the order of columns that the client scales with"),
    "minmax_scaled": (_AT_CLIENT, _CONVERTED),
    "log": (_TRUE_ROW, _CONVERTED),
    "exp": (_TRUE_ROW, _CONVERTED),
    "unit": (_TRUE_ROW, "the unit that the client's source has the column in"),
    "affine_unit": (_TRUE_ROW, "the unit that the client's source has the column in"),
    "affine": (_TRUE_ROW, _CONVERTED),
    "clipped": ("one row whose true value is beyond the bound, sent through the same path",),
    "category_relabelled": (_TRUE_ROW, "the list of levels that the client's encoder was made with"),
    "step_differs": (_ALL_REPLICAS,),
    "aggregate_changed": (_QUERY, _TRUE_ROW),
    "nulls": (_SOURCE, "the client's or the lookup's log for these rows: did it fail, or find nothing?"),
    "default_fill": (_TRUE_ROW, _SOURCE),
    "constant": (_TRUE_ROW, _SOURCE),
    "stale": (_TRUE_ROW, _TABLE),
    "feature_absent": ("when the column's value becomes known, beside when predictions are made",),
    "window_changed": (_QUERY, _TRUE_ROW),
    "columns_swapped": (_TRUE_ROW, _REQUEST_CODE),
    "column_shift": (_AT_CLIENT, _REQUEST_CODE),
    "time_zone": ("one request whose local time is known at the client, beside the hour that was recorded of it",),
    "rounded": (_AT_CLIENT,),
    "float32": (_AT_CLIENT,),
    "sign_flip": (_TRUE_ROW, _CONVERTED),
    "class_order": (_ALL_REPLICAS, _LABELS),
    "sampling_prior": (_ALL_REPLICAS, _LABELS),
    "prediction_differs": (_ALL_REPLICAS, _LABELS),
    "environment_differs": ("golden rows predicted in training's environment, one package at a time",),
    "wrong_version": (DIGESTS,),
    "covariate_shift": (_LABELS,),
    "subpopulation": (_LABELS,),
    "label_shift": (_LABELS,),
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


def settle(
    kind: str, has_model: bool, rows: int, enough: int, *, is_replayed: bool = False, has_labels: bool = False
) -> tuple[str, ...]:
    """Return what would turn a suspicion into a proof, cheapest first: at least one thing, of every kind.

    What was asked already, golden rows or labels, is not asked for again where there is something else.
    """
    if kind in ("environment_differs", "wrong_version"):
        return _QUESTIONS[kind]
    steps = []
    if rows < 2 * enough:
        steps.append(f"more rows: {rows} were judged")
    if not has_model:
        steps.append("the model: undoing the cause on live rows must bring training's scores back")
    answered = {text for text, is_known in ((_ALL_REPLICAS, is_replayed), (_LABELS, has_labels)) if is_known}
    steps += [text for text in _QUESTIONS[kind] if text not in answered]
    return tuple(steps) or _QUESTIONS[kind]
