"""Models with golden rows, made by hand: an honest one, and ones that lost something between training and the file."""

from __future__ import annotations

import copy
import io
import json
import warnings
from pathlib import Path

import mlflow
import msgspec
import numpy as np
import pandas as pd
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from tallystick.gate import golden as format_
from tallystick.gate.environment import observe
from tallystick.gate.golden import Column, Golden, Matrix, Quality, Wire
from tallystick.gate.quality import measure
from tallystick.gate.steps import trace_steps
from tallystick.gate.wires import cells_of

LEVELS = ["basic", "gold", "plus"]
TRACED = 64


def training_rows(rows: int = 160, seed: int = 7) -> tuple[pd.DataFrame, pd.Series]:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.uniform(18, 90, rows).round(1),
            "income": draw.lognormal(10, 1, rows),
            "visits": draw.integers(0, 40, rows),
            "plan": draw.choice(LEVELS, rows),
        }
    )
    y = 0.1 * frame.age + 0.5 * frame.visits + 3.0 * (frame["plan"] == "gold") + draw.normal(0, 1, rows)
    return frame, y


def fitted(frame: pd.DataFrame, y: pd.Series) -> Pipeline:
    prep = ColumnTransformer(
        [
            ("num", Pipeline([("scale", StandardScaler())]), ["age", "income", "visits"]),
            ("cat", OrdinalEncoder(), ["plan"]),
        ]
    )
    return Pipeline([("prep", prep), ("ridge", Ridge())]).fit(frame, y)


def golden_of(model, frame: pd.DataFrame, y=None, **changes) -> Golden:
    """Return golden rows of a model in memory, as training would have written them."""
    predictions = np.asarray(model.predict(frame))
    bodies = {
        "dataframe_records": frame.to_dict(orient="records"),
        "dataframe_split": frame.to_dict(orient="split"),
        "inputs": frame.to_dict(orient="list"),
    }
    wires = [
        Wire(name, "application/json", len(frame), json.dumps({name: body}).encode()) for name, body in bodies.items()
    ]
    text = io.StringIO()
    frame.to_csv(text, index=False)
    wires.append(Wire("csv", "text/csv", len(frame), text.getvalue().encode()))
    quality = None
    if y is not None:
        rmse = measure("rmse", predictions.tolist(), list(y))
        quality = Quality("rmse", rmse, rmse * 0.9, rmse * 1.1, len(frame))
    made = Golden(
        len(frame),
        tuple(Column(name, str(frame[name].dtype), tuple(cells_of(frame[name]))) for name in frame.columns),
        Matrix.of(predictions),
        tuple(wires),
        tuple(trace_steps(model, frame.iloc[:TRACED])),
        labels=b"" if y is None else np.asarray(y, dtype="<f8").tobytes(),
        quality=quality,
        model_kind="linear",
        environment=observe(["scikit-learn", "numpy", "pandas"]),
    )
    return msgspec.structs.replace(made, **changes)


def save(path: Path, model, frame: pd.DataFrame, golden: Golden | None) -> Path:
    """Save a model as MLflow does, with golden rows beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = mlflow.models.infer_signature(frame, np.asarray(model.predict(frame)))
        mlflow.sklearn.save_model(
            model,
            str(path),
            signature=signature,
            serialization_format="cloudpickle",
            pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
        )
    if golden is not None:
        (path / format_.FOLDER).mkdir()
        (path / format_.FOLDER / format_.FILE).write_bytes(format_.render(golden))
    return path


def rotated(model: Pipeline) -> Pipeline:
    """The same pipeline, whose encoder has its levels in another order."""
    changed = copy.deepcopy(model)
    encoder = changed.named_steps["prep"].named_transformers_["cat"]
    encoder.categories_ = [np.roll(levels, 1) for levels in encoder.categories_]
    return changed


def in_single_precision(model: Pipeline) -> Pipeline:
    """The same pipeline, whose scaler was written down in single precision."""
    changed = copy.deepcopy(model)
    scaler = changed.named_steps["prep"].named_transformers_["num"].named_steps["scale"]
    scaler.mean_, scaler.scale_ = scaler.mean_.astype("f4").astype("f8"), scaler.scale_.astype("f4").astype("f8")
    return changed


def with_other_weights(model: Pipeline, factor: float = 1.001) -> Pipeline:
    """The same pipeline, whose last step gives other answers: as another version of a library might."""
    changed = copy.deepcopy(model)
    changed.named_steps["ridge"].coef_ = changed.named_steps["ridge"].coef_ * factor
    return changed
