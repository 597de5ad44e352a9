"""Models that are served in ParityBench: a pipeline over raw columns, saved with its reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline, and the folder of the MLflow model that holds it with its reference."""

    folder: Path
    model: Any


def make_pipeline(frame: pd.DataFrame, label: pd.Series) -> Any:
    """Return an unfitted pipeline: impute, scale, one-hot or codes of times, then boosted trees."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [n for n in frame if frame[n].dtype.kind in "iufb"]
    levels = [n for n in frame if frame[n].dtype.kind not in "iufbM"]
    prepare = ColumnTransformer(
        [
            ("num", Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())]), numbers),
            ("cat", OneHotEncoder(handle_unknown="ignore", sparse_output=False), levels),
        ]
    )
    is_class = label.nunique() <= 20 or label.dtype.kind not in "iuf"
    last = HistGradientBoostingClassifier(max_iter=60) if is_class else HistGradientBoostingRegressor(max_iter=60)
    return Pipeline([("prepare", prepare), ("model", last)])


def train(
    folder: Path,
    ref: pd.DataFrame,
    y_ref: pd.Series,
    held_out: pd.DataFrame,
    y_held_out: pd.Series,
    model: Any = None,
    **options: Any,
) -> Trained:
    """Fit the pipeline on `ref`, or another `model`, and save it with its reference in `folder`."""
    import tallystick

    sent = ref.drop(columns=[n for n in ref if ref[n].dtype.kind == "M"])
    model = (model or make_pipeline(sent, y_ref)).fit(sent, y_ref)
    picked = np.arange(len(held_out))[:2000]
    tallystick.save_model(
        model,
        folder,
        X=sent,
        y=y_ref,
        eval_data=(held_out[sent.columns].iloc[picked], y_held_out.iloc[picked]),
        # In one file, which the cases of broken artifacts exchange.
        serialization_format="cloudpickle",
        **options,
    )
    return Trained(folder, model)
