"""What the served model will answer, asked of the model in memory; and which MLflow flavor it is logged with."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tallystick.errors import InvalidParameter

#: The parameter by which each flavor's `save_model` takes the model.
MODEL_PARAMETERS = {"sklearn": "sk_model", "xgboost": "xgb_model", "lightgbm": "lgb_model", "pyfunc": "python_model"}
_LINEAR = ("linear_model", "svm", "naive_bayes", "discriminant_analysis", "cross_decomposition")
_TREES = ("Forest", "Tree", "Boost", "GBM", "XGB", "LGBM", "IsolationForest")
_INSIDE = ("best_estimator_", "regressor_", "estimator_", "booster_")


def flavor_of(model: Any) -> str:
    """Return the name of the MLflow flavor for a model. Raises InvalidParameter when none fits.

    >>> flavor_of(lambda frame: frame)
    'pyfunc'
    """
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if isinstance(model, str) or {"mlflow"} & roots:
        return "pyfunc"
    # Both libraries' classes are scikit-learn's as well: their own flavors keep what those know.
    for name in ("xgboost", "lightgbm", "sklearn"):
        if name in roots:
            return name
    if callable(model):
        return "pyfunc"
    raise InvalidParameter(
        f"a model of type {type(model).__name__} is none of scikit-learn, xgboost, lightgbm, a PythonModel or a "
        "function; name its MLflow flavor with flavor="
    )


def is_opaque(model: Any) -> bool:
    """Whether nothing can be seen of a model but what its `predict` does: a PythonModel, a function, a file of code."""
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    return isinstance(model, str) or "mlflow" in roots or not hasattr(model, "predict")


def flavor_module(name: str) -> Any:
    """Return MLflow's module of a flavor; raises InvalidParameter when there is none, or its library is missing."""
    try:
        return importlib.import_module(f"mlflow.{name}")
    except ImportError as error:
        raise InvalidParameter(f"flavor {name!r}: mlflow.{name} cannot be imported ({error})") from error


def model_parameter(flavor: Any) -> str:
    """Return the name by which a flavor's `save_model` takes the model: its first parameter for all but pyfunc."""
    name = flavor.__name__.rpartition(".")[2]
    return MODEL_PARAMETERS.get(name) or next(iter(inspect.signature(flavor.save_model).parameters))


def in_memory(flavor: str, model: Any, options: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """Return a function of rows that answers as the served model will; None where only the saved one can be asked."""
    if flavor == "pyfunc":
        return _python_model(model, options)
    if flavor == "xgboost" and type(model).__name__ == "Booster":
        return lambda rows: model.predict(importlib.import_module("xgboost").DMatrix(rows))
    if flavor == "sklearn":
        return getattr(model, options.get("pyfunc_predict_fn") or "predict", None)
    return getattr(model, "predict", None)


def _python_model(model: Any, options: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    if isinstance(model, str) or not callable(getattr(model, "predict", model)):
        return None
    if not hasattr(model, "predict"):
        return lambda rows: model(rows)
    if options.get("artifacts"):
        # Where its files are is known once it is saved.
        return None
    wanted = list(inspect.signature(model.predict).parameters)
    if wanted[:1] != ["context"]:
        return lambda rows: model.predict(rows)
    from mlflow.pyfunc import PythonModelContext

    context = PythonModelContext(artifacts={}, model_config=options.get("model_config") or {})
    return lambda rows: model.predict(context, rows)


def model_kind(model: Any) -> str:
    """Return `trees`, `linear` or `other`, by the last estimator: what a small difference of inputs may do."""
    for _ in range(8):
        steps = getattr(model, "steps", None)
        inside = steps[-1][1] if isinstance(steps, list) and steps else None
        for name in _INSIDE:
            inside = inside if inside is not None else getattr(model, name, None)
        if inside is None or isinstance(inside, str):
            break
        model = inside
    kind = type(model)
    if kind.__name__ in ("Booster",) or any(mark in kind.__name__ for mark in _TREES):
        return "linear" if getattr(model, "booster", None) == "gblinear" else "trees"
    return "linear" if any(f".{part}" in kind.__module__ for part in _LINEAR) else "other"
