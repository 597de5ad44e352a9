"""Faults that are not in rows, through a real server: exchanged classes, sampling rates, environments, replicas.

The gate is set to `warn`, so that the endpoint serves; a sound client sends fair rows, and the endpoint is diagnosed.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.load import Request
from benchmarks.parity.data import DATASETS
from benchmarks.parity.gatecases import outcome, save_into
from benchmarks.parity.models import make_pipeline, train
from benchmarks.parity.run import split
from benchmarks.servers import Tallystick, ask

#: Sends rows to an endpoint as one client, and asks why its answers are odd.
Send = Callable[[str, pd.DataFrame], None]
Ask = Callable[[str], dict[str, Any]]
DATASET, ROWS = "adult", 150
RATE = 5.0
#: A package of the model's author, in two versions: what training had, and what the machine has that serves.
PACKAGE = "paritybench-scales"
VERSIONS = {"1.0.0": "np.log1p(frame)", "2.0.0": "np.log10(1 + frame)"}


@dataclass(frozen=True)
class Bench:
    """What the cases share: the server, its folder, and how rows are sent and verdicts asked for."""

    server: Tallystick
    folder: Path
    data_dir: Path
    send: Send
    ask: Ask


def _rows() -> tuple[pd.DataFrame, pd.Series, pd.DataFrame, pd.Series]:
    ref, pool, y_ref, y_pool = split(next(data for data in DATASETS if data.name == DATASET), 0)
    return ref, y_ref, pool, y_pool


def _sound(bench: Bench, how: str) -> tuple[Path, Any]:
    """Return the folder of a sound model, trained the first time, and the model; `how` it answers: labels or scores."""
    folder = bench.folder / f"answers-{how}"
    if how not in _MODELS:
        ref, y_ref, pool, y_pool = _rows()
        options = {"pyfunc_predict_fn": "predict_proba"} if how == "scores" else {}
        _MODELS[how] = train(folder, ref, y_ref, pool, y_pool, **options).model
    return folder, _MODELS[how]


_MODELS: dict[str, Any] = {}


def _exchanged(model: Any) -> Any:
    """The classes are in another order than the columns of probabilities."""
    broken = copy.deepcopy(model)
    last = broken.named_steps["model"]
    last._baseline_prediction = -last._baseline_prediction
    for stage in last._predictors:
        for tree in stage:
            tree.nodes["value"] *= -1
    return broken


def _sampled(model: Any) -> Any:
    """It was trained with one class kept at a fifth, and nobody undid that."""
    broken = copy.deepcopy(model)
    last = broken.named_steps["model"]
    last._baseline_prediction = last._baseline_prediction + np.log(RATE)
    return broken


def _answers(how: str, breaks: Callable[[Any], Any], expected: str) -> Callable[[Bench, str], dict[str, Any]]:
    def run(bench: Bench, case: str) -> dict[str, Any]:
        sound, model = _sound(bench, how)
        broken = bench.folder / f"answers-{case}"
        save_into(breaks(model), sound, broken)
        verdict, seconds = _served(bench, case, {"name": "model", "entity_name": str(broken)})
        rate = verdict.get("transformation", {}).get("rate")
        is_right = expected != "sampling_prior" or (rate is not None and abs(rate - RATE) < 0.02 * RATE)
        return _result("answers", case, expected, verdict, seconds, is_right)

    return run


def _served(bench: Bench, case: str, entity: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Serve a model though its gate warns, send rows, and return the verdict."""
    name = case.replace("_", "-")
    config = {"served_entities": [entity]}
    bench.server.api("POST", "", {"name": name, "config": config, "parity": {"gate": "warn"}})
    bench.server.wait_ready(name)
    bench.send(name, _rows()[2].head(ROWS))
    began = time.monotonic()
    verdict = bench.ask(name)
    seconds = time.monotonic() - began
    bench.server.api("DELETE", f"/{name}")
    return verdict, seconds


def _result(
    place: str, case: str, expected: str, verdict: dict[str, Any], seconds: float, is_right: bool, segment: str = ""
) -> dict[str, Any]:
    given = verdict.get("segment") or {}
    return {
        "place": place,
        "dataset": DATASET,
        "case": case,
        "share": 1.0,
        "expected": expected,
        "status": verdict.get("status", ""),
        "kind": verdict.get("kind", ""),
        "features": ",".join(verdict.get("features", [])),
        "segment": str(given.get("value", "")),
        "is_exact": verdict.get("status") in ("cause_found", "suspected") and verdict.get("kind") == expected,
        "is_feature": is_right,
        "is_segment": given.get("value") == segment if segment else None,
        "seconds": seconds,
    }


# -- environments ----------------------------------------------------------------------------------------------------


def _installed(folder: Path, version: str, formula: str) -> Path:
    """Return a folder with one version of the author's package, as an installer leaves it."""
    home = folder / f"scales-{version}"
    module, described = home / "paritybench_scales", home / f"paritybench_scales-{version}.dist-info"
    for each in (module, described):
        each.mkdir(parents=True)
    (module / "__init__.py").write_text(f"import numpy as np\n\n\ndef scaled(frame):\n    return {formula}\n")
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n")
    return home


def _with_package(bench: Bench) -> tuple[Path, dict[str, Path]]:
    """Return a model that calls the author's package, trained with its first version, and where both versions are."""
    import sys

    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    homes = {version: bench.folder / f"scales-{version}" for version in VERSIONS}
    folder = bench.folder / "answers-package"
    if folder.exists():
        return folder, homes
    for version, formula in VERSIONS.items():
        _installed(bench.folder, version, formula)
    sys.path.insert(0, str(homes["1.0.0"]))
    try:
        from paritybench_scales import scaled  # type: ignore[import-not-found]

        ref, y_ref, pool, y_pool = _rows()
        numbers = [n for n in ref if ref[n].dtype.kind in "iuf"]
        pipeline = make_pipeline(ref, y_ref)
        number = pipeline.named_steps["prepare"].transformers[0][1]
        scale = ("own", FunctionTransformer(scaled, feature_names_out="one-to-one"))
        pipeline.named_steps["prepare"].transformers[0] = ("num", Pipeline([scale, *number.steps]), numbers)
        train(folder, ref, y_ref, pool, y_pool, model=pipeline, extra_pip_requirements=[f"{PACKAGE}==1.0.0"])
    finally:
        sys.path.remove(str(homes["1.0.0"]))
    return folder, homes


def _environment(version: str, expected: str) -> Callable[[Bench, str], dict[str, Any]]:
    def run(bench: Bench, case: str) -> dict[str, Any]:
        folder, homes = _with_package(bench)
        running = {"TALLYSTICK_ENVIRONMENT": "running", "PYTHONPATH": str(homes[version])}
        entity = {"name": "model", "entity_name": str(folder), "environment_vars": running}
        verdict, seconds = _served(bench, case, entity)
        told = json.dumps(verdict)
        result = _result("environment", case, expected, verdict, seconds, not expected or PACKAGE in told)
        if not expected:
            result["is_exact"] = result["is_feature"] = verdict.get("status") == "consistent"
        return result

    return run


def _environment_gate(bench: Bench, case: str) -> dict[str, Any]:
    folder, homes = _with_package(bench)
    running = {"TALLYSTICK_ENVIRONMENT": "running", "PYTHONPATH": str(homes["2.0.0"])}
    name = case.replace("_", "-")
    bench.server.create(name, {"name": "model", "entity_name": str(folder), "environment_vars": running})
    began = time.monotonic()
    state, message = outcome(bench.server, name)
    seconds = time.monotonic() - began
    bench.server.api("DELETE", f"/{name}")
    result = _result("environment", case, f"blocked {PACKAGE}", {"status": state, "kind": message[:200]}, seconds, True)
    is_right = state == "blocked" and PACKAGE in message
    return {**result, "is_exact": is_right, "is_feature": is_right}


# -- replicas --------------------------------------------------------------------------------------------------------


def _routing(beside: str) -> Callable[[Bench, str], dict[str, Any]]:
    """One of two replicas is started again when another model lies where the right one was, and serves that."""

    def run(bench: Bench, case: str) -> dict[str, Any]:
        sound, _ = _sound(bench, "labels")
        ref, y_ref, pool, _ = _rows()
        third = len(ref) // 3
        right, wrong = bench.folder / f"{case}-right", bench.folder / f"{case}-wrong"
        shutil.copytree(sound, right)
        # A digest of its own, so that no other endpoint shares the copy that is exchanged.
        (right / "README.md").write_text(case)
        save_into(make_pipeline(ref, y_ref).fit(ref.iloc[:third], y_ref.iloc[:third]), right, wrong)
        name = case.replace("_", "-")
        before = _digests(bench)
        two = {"max_provisioned_concurrency": 8, "min_provisioned_concurrency": 8}
        entity = {"name": "model", "entity_name": str(right), **two}
        bench.server.api(
            "POST", "", {"name": name, "config": {"served_entities": [entity]}, "parity": {"gate": "warn"}}
        )
        bench.server.wait_ready(name)
        (digest,) = _digests(bench) - before
        _exchange(bench, name, bench.data_dir / "models" / digest, right, wrong)
        rows = pool.head(ROWS)
        bench.send(name, rows.assign(age=rows["age"] * 12) if beside == "client" else rows)
        began = time.monotonic()
        verdict = bench.ask(name)
        seconds = time.monotonic() - began
        bench.server.api("DELETE", f"/{name}")
        return _result("replica", case, "wrong_version", verdict, seconds, not verdict.get("features"), "1")

    return run


def _digests(bench: Bench) -> set[str]:
    folder = bench.data_dir / "models"
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.exists() else set()


def _exchange(bench: Bench, name: str, kept: Path, right: Path, wrong: Path) -> None:
    """Have replica 1 serve what is wrong, while replica 0 and the files are right again."""
    (entity,) = bench.server.api("GET", f"/{name}")["config"]["served_entities"]
    workers = [each for each in _workers(bench) if each["id"].startswith(entity["id"])]
    was = _served_digest(bench, name)
    shutil.copytree(wrong, kept, dirs_exist_ok=True)
    os.kill(next(each["pid"] for each in workers if each["id"].rstrip("/").endswith("1")), signal.SIGKILL)
    end = time.monotonic() + 60
    while _served_digest(bench, name) in (was, "") and time.monotonic() < end:
        time.sleep(0.1)
    shutil.copytree(right, kept, dirs_exist_ok=True)
    time.sleep(1.0)


def _served_digest(bench: Bench, name: str) -> str:
    replicas = bench.server.api("GET", f"/{name}/parity")["gate"].get("model", {}).get("replicas", {})
    return str(replicas.get("1", {}).get("digest", ""))


def _workers(bench: Bench) -> list[dict[str, Any]]:
    request = Request(bench.server.port, "/api/2.0/tallystick/status", b"", bench.server.token)
    found: list[dict[str, Any]] = json.loads(ask(request, "GET")[2])["workers"]
    return found


ANSWER_CASES: dict[str, Callable[[Bench, str], dict[str, Any]]] = {
    "class_order_of_labels": _answers("labels", _exchanged, "class_order"),
    "class_order_of_scores": _answers("scores", _exchanged, "class_order"),
    "sampling_rate": _answers("scores", _sampled, "sampling_prior"),
    "environment_blocked": _environment_gate,
    "environment_warned": _environment("2.0.0", "environment_differs"),
    "environment_alike": _environment("1.0.0", ""),
    "replica_alone": _routing(""),
    "replica_and_client": _routing("client"),
}
