"""What shows when a model is saved, loaded again and asked the way it will be served; and its requirements."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tallystick.gate.golden import Matrix
from tallystick.printable import listed_names
from tallystick.training import origin
from tallystick.training.own_modules import left_out

#: One machine, one process, minutes apart: what is further apart than rounding is another model.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Saved:
    """A saved model: what it answers, and its signature. `predict` is None where it cannot be loaded."""

    predict: Callable[[Any], Any] | None
    #: The estimator, booster or PythonModel inside; None where the flavor does not say.
    raw: Any = None
    signature: dict[str, Any] | None = None
    findings: tuple[str, ...] = ()


def load_saved(folder: Path) -> Saved:
    """Load the model in `folder` as a server will. Runs the model's code."""
    described = yaml.safe_load((folder / "MLmodel").read_text())
    signature = described.get("signature")
    try:
        import mlflow.pyfunc

        with _quiet():
            model = mlflow.pyfunc.load_model(str(folder))
    except Exception as error:  # noqa: BLE001  whatever the model's code raises, the reference says it
        return Saved(None, None, signature, (f"the saved model cannot be loaded again: {_told(error)}",))
    # Without MLflow's own enforcement: rows of the frame are asked as they are, and parsed ones have been through ours.
    predict = getattr(model, "_predict_fn", None) or model.predict
    return Saved(predict, _raw(model), signature)


def _raw(model: Any) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return model.get_raw_model()
    except (AttributeError, NotImplementedError, MlflowException):
        return None


def saved_differs(saved: Saved, rows: Any, parsed: Any, expected: Matrix, noise: float) -> list[str]:
    """Return what is wrong with the saved model's answers to golden rows, as they were and as requests bring them."""
    if saved.predict is None:
        return []
    found = _differs(saved.predict, rows, expected, noise, "the saved model, loaded again,")
    if not found and parsed is not None:
        found = _differs(
            saved.predict, parsed, expected, noise, "the saved model, given the rows as a request brings them,"
        )
    return found


def _differs(predict: Callable[[Any], Any], rows: Any, expected: Matrix, noise: float, who: str) -> list[str]:
    try:
        with _quiet():
            got = Matrix.of(predict(rows))
    except Exception as error:  # noqa: BLE001  whatever the model's code raises, the reference says it
        return [f"{who} refuses rows of training: {_told(error)}"]
    share = _share_of_differing(expected, got, noise)
    return [f"{who} gives other predictions for {share:.1%} of the rows"] if share else []


def _share_of_differing(expected: Matrix, got: Matrix, noise: float) -> float:
    """Return the share of rows that differ by more than two runs do; `got` may be of the first rows only."""
    if expected.width != got.width or bool(expected.texts) != bool(got.texts) or not got.rows:
        return 1.0
    one, other = expected.values()[: got.rows], got.values()
    if expected.texts:
        return 0.0 if noise else float(np.mean((one != other).any(axis=1)))
    with np.errstate(invalid="ignore"):
        spread = np.nanstd(np.where(np.isfinite(one), one, np.nan), axis=0)
        # The largest difference of a third run is larger than that of two as often as not; four times it is not.
        limit = ROUNDING * np.maximum(1.0, np.abs(one)) + 4 * noise * np.maximum(spread, ROUNDING)
        same = (one == other) | (np.abs(one - other) <= limit)
    same |= np.isnan(one) & np.isnan(other)
    return float(np.mean(~same.all(axis=1)))


def truths(names: list[str]) -> list[str]:
    """Return a line when columns of truth values are numbers in the signature: clients have to know."""
    if not names:
        return []
    return [
        f"truth values are numbers in the signature: {listed_names(names)}; clients send 1, 0 and null for them "
        "(true and false become numbers and are counted, and --strict refuses them)"
    ]


def modules(folder: Path) -> list[str]:
    """Return a line when the model refers to files of the script's folder that are not in its artifact."""
    files = left_out(folder)
    if not files:
        return []
    needs = "a module" if len(files) == 1 else "modules"
    paths = ", ".join(f'"{file}"' for file in files)
    return [f"the model needs {needs} of yours that a worker does not find: log it with code_paths=[{paths}]"]


def requirements(path: Path) -> list[str]:
    """Return a line when requirements name no version: the environment will be another one later."""
    loose = origin.unpinned(path)
    if not loose:
        return []
    shown = ", ".join(loose[:5]) + (f" and {len(loose) - 5} more" if len(loose) > 5 else "")
    return [f"requirements without a version: {shown}; an environment built later may answer otherwise"]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}".rstrip(": ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's and the model's warnings to themselves: they were given when it was saved."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
