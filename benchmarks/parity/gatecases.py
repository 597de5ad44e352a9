"""Faults of pipelines, artifacts and environments: what is deployed is not what was trained; the gate should say where.

Each case saves what training made, with its golden rows, then puts another model into the artifact, as a broken export
or a registry mix-up would.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.parity.data import DATASETS
from benchmarks.parity.models import make_pipeline, train
from benchmarks.parity.run import split
from benchmarks.servers import Tallystick

#: Returns the model that is put into the artifact.
Break = Callable[[Any, pd.DataFrame, pd.Series], Any]


def _without_scaler(model: Any, frame: pd.DataFrame, label: pd.Series) -> Any:
    """The scaler stayed in the notebook."""
    broken = copy.deepcopy(model)
    numbers = broken.named_steps["prepare"].named_transformers_["num"]
    scale = numbers.named_steps["scale"]
    scale.mean_, scale.scale_ = np.zeros_like(scale.mean_), np.ones_like(scale.scale_)
    return broken


def _rotated_encoder(model: Any, frame: pd.DataFrame, label: pd.Series) -> Any:
    """The encoder was fitted again on levels in another order."""
    broken = copy.deepcopy(model)
    encoder = broken.named_steps["prepare"].named_transformers_["cat"]
    encoder.categories_ = [np.roll(levels, 1) if len(levels) > 2 else levels[::-1] for levels in encoder.categories_]
    return broken


def _other_imputer(model: Any, frame: pd.DataFrame, label: pd.Series) -> Any:
    """Missing values are filled with 0 instead of the median."""
    broken = copy.deepcopy(model)
    fill = broken.named_steps["prepare"].named_transformers_["num"].named_steps["fill"]
    fill.statistics_ = np.zeros_like(fill.statistics_)
    return broken


def _stale_scaler(model: Any, frame: pd.DataFrame, label: pd.Series) -> Any:
    """The scaler is that of last year's data."""
    broken = copy.deepcopy(model)
    scale = broken.named_steps["prepare"].named_transformers_["num"].named_steps["scale"]
    scale.mean_ = scale.mean_ + 0.3 * scale.scale_
    return broken


def _other_model(model: Any, frame: pd.DataFrame, label: pd.Series) -> Any:
    """Another version's model is in the artifact."""
    return make_pipeline(frame, label).fit(frame.iloc[: len(frame) // 3], label.iloc[: len(frame) // 3])


def _same(model: Any, frame: pd.DataFrame, label: pd.Series) -> Any:
    """Nothing is wrong: the same model, saved again."""
    return copy.deepcopy(model)


#: Case -> how the model is broken, kind that should be said, step that should be named (part of its path).
_BREAKS: dict[str, tuple[Break, str, str]] = {
    "scaler_left_in_notebook": (_without_scaler, "blocked", "scale"),
    "rotated_encoder": (_rotated_encoder, "blocked", "cat"),
    "imputer_default": (_other_imputer, "blocked", "fill"),
    "stale_scaler": (_stale_scaler, "blocked", "scale"),
    "wrong_artifact": (_other_model, "blocked", ""),
    "saved_again": (_same, "passed", ""),
}


def _run(case: str, server: Tallystick, folder: Path) -> dict[str, Any]:
    breaks, expected, step = _BREAKS[case]
    data = next(data for data in DATASETS if data.name == "adult")
    ref, pool, y_ref, y_pool = split(data, 0)
    # Missing values, so that the imputer has something to do.
    ref = ref.assign(age=ref["age"].astype(float).mask(np.random.default_rng(0).random(len(ref)) < 0.1))
    sound = folder / "gate-sound"
    if not sound.exists():
        _MODELS[str(sound)] = train(sound, ref, y_ref, pool.assign(age=pool["age"].astype(float)), y_pool).model
    broken = folder / f"gate-{case}"
    save_into(breaks(_MODELS[str(sound)], ref, y_ref), sound, broken)
    name = f"gate-{case}".replace("_", "-")
    server.create(name, {"name": "model", "entity_name": str(broken)})
    began = time.monotonic()
    state, message = outcome(server, name)
    seconds = time.monotonic() - began
    server.api("DELETE", f"/{name}")
    is_right = state == expected and (not step or step in message)
    return {
        "place": "artifact",
        "dataset": "adult",
        "case": case,
        "share": 1.0,
        "expected": f"{expected} {step}".strip(),
        "status": state,
        "kind": message[:160],
        "features": "",
        "segment": "",
        "is_exact": is_right,
        "is_feature": is_right,
        "is_segment": None,
        "seconds": seconds,
    }


_MODELS: dict[str, Any] = {}


def save_into(model: Any, sound: Path, broken: Path) -> None:
    """Save `model` in a folder that says of itself what the sound one says."""
    import mlflow

    shutil.copytree(sound, broken)
    scratch = broken.with_name(broken.name + "-scratch")
    mlflow.sklearn.save_model(model, str(scratch), serialization_format="cloudpickle")
    described = mlflow.models.Model.load(str(sound)).flavors["python_function"]["model_path"]
    shutil.copy(scratch / "model.pkl", broken / described)


def outcome(server: Tallystick, name: str) -> tuple[str, str]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        endpoint = server.api("GET", f"/{name}")
        state = endpoint["state"]
        if state["config_update"] == "NOT_UPDATING":
            return "passed", ""
        if state["config_update"] == "UPDATE_FAILED":
            config = endpoint.get("pending_config") or endpoint.get("config") or {}
            return "blocked", "; ".join(e["state"]["deployment_state_message"] for e in config["served_entities"])
        time.sleep(0.05)
    return "waiting", ""


GATE_CASES: dict[str, Callable[[Tallystick, Path], dict[str, Any]]] = {
    case: (lambda server, folder, case=case: _run(case, server, folder)) for case in _BREAKS
}
