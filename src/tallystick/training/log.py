"""`tallystick.log_model` and `save_model`: as MLflow's, with what training looked like inside the artifact."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity.history import History
from tallystick.training import served
from tallystick.training.capture import Captured, Plan, capture, make_plan, tell, write
from tallystick.training.kinds import check_kinds, for_signature

#: Rows of the input example, as MLflow has them at most.
_EXAMPLE_ROWS = 5
#: Their types are in models that are written without any code of the author's.
_LIBRARIES = frozenset({"numpy", "scipy", "pandas", "sklearn", "xgboost", "lightgbm"})
_PLAIN = frozenset({"collections.OrderedDict", "collections.defaultdict"})


def log_model(
    model: Any,
    name: str | None = None,
    *,
    X: Any,
    y: Any = None,
    eval_data: tuple[Any, Any] | None = None,
    registered_model_name: str | None = None,
    privacy: str | Mapping[str, str] = "raw",
    k_anonymity: int = 1,
    keys: Any = None,
    timestamps: Any = None,
    history: History | None = None,
    flavor: str | None = None,
    signature: Any = None,
    input_example: Any = None,
    **options: Any,
) -> Any:
    """Log a model with MLflow, with a reference of its training inside the artifact. Returns MLflow's ModelInfo.

    `X` and `y` are what was given to `fit`, and `eval_data` rows and labels that were not; at most 100,000 rows of X
    are captured. `privacy` is `raw`, `hashed`, `bucketed` or `none`, for all columns or by column; levels of fewer
    than `k_anonymity` rows are kept as digests. `keys` say whom each row of X is about, `timestamps` when it was, and
    `history` is the source of its features (`tallystick.parity.History`): what is kept of them is how old each column's
    values were. `flavor` names MLflow's flavor where the model's type does not
    (`mlflow.<flavor>`); all other options are those of its `log_model`. Signature and input example are made from X
    where they are not given; with privacy there is no input example, as it holds rows as they are.

    Raises InvalidParameter, before anything is logged, for data that cannot be captured. What will go wrong in serving
    is told as one warning.
    """
    from mlflow.models import Model

    plan = make_plan(X, y, eval_data, privacy, k_anonymity, keys=keys, timestamps=timestamps, history=history)
    made = _Making(model, flavor, plan, signature, input_example, options)
    told: list[Captured] = []
    proxy = WithParity(made.module, lambda folder, run_id: told.append(made.into(folder, run_id)))
    info = Model.log(
        artifact_path=None, name=name, flavor=proxy, registered_model_name=registered_model_name, **made.arguments
    )
    tell(told[-1])
    return info


def save_model(
    model: Any,
    path: str | Path,
    *,
    X: Any,
    y: Any = None,
    eval_data: tuple[Any, Any] | None = None,
    privacy: str | Mapping[str, str] = "raw",
    k_anonymity: int = 1,
    keys: Any = None,
    timestamps: Any = None,
    history: History | None = None,
    flavor: str | None = None,
    signature: Any = None,
    input_example: Any = None,
    **options: Any,
) -> Path:
    """Save a model into a folder that is not there yet, with its reference; no tracking server is asked.

    Options are those of `log_model`, and of `mlflow.<flavor>.save_model`. Returns the folder.
    """
    plan = make_plan(X, y, eval_data, privacy, k_anonymity, keys=keys, timestamps=timestamps, history=history)
    made = _Making(model, flavor, plan, signature, input_example, options)
    made.module.save_model(path=str(path), **made.arguments)
    tell(made.into(Path(path), None))
    return Path(path)


class WithParity:
    """One of MLflow's flavors, whose `save_model` leaves a reference in the folder that it saved the model in."""

    def __init__(self, flavor: Any, finish: Callable[[Path, str | None], object]) -> None:
        self._flavor, self._finish = flavor, finish

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flavor, name)

    def save_model(self, path: str, mlflow_model: Any = None, **options: Any) -> None:
        """Save the model, then what belongs to it."""
        self._flavor.save_model(path=path, mlflow_model=mlflow_model, **options)
        self._finish(Path(path), getattr(mlflow_model, "run_id", None))


class _Making:
    """One model on its way into a folder: its flavor, the arguments of `save_model`, and how it is asked."""

    def __init__(
        self,
        model: Any,
        flavor: str | None,
        plan: Plan,
        signature: Any,
        input_example: Any,
        options: dict[str, Any],
    ) -> None:
        name = flavor or served.flavor_of(model)
        self.model, self.plan = model, plan
        self.module = served.flavor_module(name)
        self.ask = served.in_memory(name, model, options)
        if input_example is None and plan.is_open:
            rows = plan.rows.frame if signature is not None else for_signature(plan.rows.frame)
            input_example = plan.rows.restore(_example(rows))
        if signature is None:
            signature = _signature(plan, self.ask)
        self.arguments = {
            served.model_parameter(self.module): model,
            "signature": signature,
            "input_example": input_example,
            **options,
        }
        if name == "sklearn" and not {"serialization_format", "skops_trusted_types"} & set(options):
            self.arguments |= _serialization(model)

    def into(self, folder: Path, run_id: str | None) -> Captured:
        """Capture the reference of the model saved in `folder`, and write it there."""
        captured = capture(self.plan, self.model, self.ask, folder, run_id)
        write(captured, folder)
        return captured


def _example(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows as clients could send them: times in UTC, levels as text, nothing missing if there are such rows."""
    full = frame.head(1000).dropna().head(_EXAMPLE_ROWS)
    rows = (full if len(full) else frame.head(_EXAMPLE_ROWS)).copy()
    for name in rows.columns:
        kind = rows[name].dtype
        if isinstance(kind, pd.DatetimeTZDtype):
            rows[name] = rows[name].dt.tz_convert("UTC").dt.tz_localize(None)
        elif isinstance(kind, pd.CategoricalDtype):
            rows[name] = rows[name].astype(kind.categories.dtype)
    return rows


def _serialization(model: Any) -> dict[str, Any]:
    """Return how to write a scikit-learn model: by skops, MLflow's own choice, where that holds all that is in it.

    skops refuses at loading what it does not know, dtypes of NumPy among it. Types of the libraries are named to it;
    functions and classes of the author's own need cloudpickle, as MLflow then warns.
    """
    if importlib.util.find_spec("skops") is None:
        return {"serialization_format": "cloudpickle"}
    trusted = trusted_types(model)
    if trusted is None:
        return {"serialization_format": "cloudpickle"}
    return {"skops_trusted_types": trusted} if trusted else {}


def trusted_types(model: Any) -> list[str] | None:
    """Return the types that skops has to be told of for a model; None where it holds others than those of libraries.

    Without them MLflow writes no forest, no nearest neighbours, no search: what it has written, it loads, and skops
    refuses dtypes and trees.
    """
    try:
        from skops.io import dumps, get_untrusted_types

        strange = [str(kind) for kind in get_untrusted_types(data=dumps(model))]
    except Exception:  # noqa: BLE001  skops raises many kinds for what it cannot write
        return None
    return strange if all(kind in _PLAIN or kind.partition(".")[0] in _LIBRARIES for kind in strange) else None


def _signature(plan: Plan, ask: Callable[[Any], Any] | None) -> Any:
    from mlflow.models import infer_signature

    rows = plan.rows
    check_kinds(rows.frame, is_signed=False)
    with warnings.catch_warnings():
        # That whole numbers cannot be missing is true, and told by the decoder when it happens.
        warnings.simplefilter("ignore")
        answer = None if ask is None else ask(rows.restore(rows.frame.head(_EXAMPLE_ROWS)))
        try:
            return infer_signature(rows.restore(for_signature(rows.frame)), answer)
        except Exception as error:
            # MLflow raises several kinds; all mean that a column has no type in a signature.
            raise InvalidParameter(f"X: no signature can be made from it: {error}") from error
