"""ParityBench through a real endpoint: real models, a real server, HTTP clients, the fault where it would really be.

    python -m benchmarks.parity.endpoint [--only NAME] [--rows 200] [--out FILE]

Client and parser faults: a sound model serves two clients of which one (or both) sends broken rows, and the endpoint is
diagnosed. Pipeline, artifact and environment faults: a model that differs from what was trained is deployed, and the
gate is asked. Routing: one of two replicas comes to serve another version, and the endpoint is diagnosed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.parity.answercases import ANSWER_CASES, Bench
from benchmarks.parity.counts import COUNTED, MARK
from benchmarks.parity.data import DATASETS
from benchmarks.parity.faults import FAULTS, Truth
from benchmarks.parity.gatecases import GATE_CASES
from benchmarks.parity.models import Trained, train
from benchmarks.parity.run import split
from benchmarks.servers import Tallystick, tallystick

GOOD, BAD = "web/2.1", "ios/4.2"


@dataclass(frozen=True)
class ClientCase:
    """A fault of `faults.py` in the rows of one client; `share` of all requests come from it.

    `orders@3` is a column of a table of `counts.py` over three times the window.
    """

    dataset: str
    fault: str
    share: float = 1.0
    encoding: str = "dataframe_records"


CLIENT_CASES = (
    ClientCase("orders", "orders@3", 0.4),
    ClientCase("orders", "items@12"),
    ClientCase("orders", "mean_price@sum", 0.4),
    ClientCase("rentals_counted", "rented_day@7", 0.4),
    ClientCase("adult_settled", "absent"),
    ClientCase("bikeshare", "unit_100", 0.31),
    ClientCase("bikeshare", "unit_0.001"),
    ClientCase("bikeshare", "celsius_fahrenheit"),
    ClientCase("bikeshare", "standardized", 0.5),
    ClientCase("bikeshare", "hour_shift"),
    ClientCase("bikeshare", "category_relabelled"),
    ClientCase("bikeshare", "columns_swapped", 0.5),
    ClientCase("bikeshare", "upper_case", 0.3),
    ClientCase("diamonds", "unit_10", 0.4),
    ClientCase("diamonds", "renamed_level"),
    ClientCase("diamonds", "numeric_as_text", 0.3),
    ClientCase("diamonds", "decimal_comma", 0.3),
    ClientCase("diamonds", "log1p"),
    ClientCase("diamonds", "sign_flip", 0.5),
    ClientCase("diamonds", "truncated", 0.3),
    ClientCase("diamonds", "column_shift"),
    ClientCase("adult", "fill_0", 0.5),
    ClientCase("adult", "fill_unknown", 0.5),
    ClientCase("adult", "whitespace", 0.3),
    ClientCase("adult", "nulls", 0.5),
    ClientCase("adult", "null_token", 0.3),
    ClientCase("adult", "new_level"),
    ClientCase("adult", "missing_column", 0.3),
    ClientCase("adult", "extra_column", 0.3),
    ClientCase("adult", "renamed_column", 0.3),
    ClientCase("california", "standardized"),
    ClientCase("california", "minmax"),
    ClientCase("california", "float32", 0.5),
    ClientCase("california", "rounded"),
    ClientCase("california", "wrong_scaler"),
    ClientCase("california", "fill_median", 0.5),
    ClientCase("california", "constant"),
)


@dataclass(frozen=True)
class Result:
    """One case: what was done, where, and what was said."""

    place: str
    dataset: str
    case: str
    share: float
    expected: str
    status: str
    kind: str
    features: str
    segment: str
    is_exact: bool
    is_feature: bool
    is_segment: bool | None
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--rows", type=int, default=200, help="rows of the broken client")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    # Threads of small models, here and in workers, wait for each other where little processor is left.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    folder = Path(tempfile.mkdtemp(prefix="tallystick-paritybench-"))
    results: list[Result] = []
    with tallystick(folder / "data", f"sqlite:///{folder / 'mlflow.db'}") as server:
        models: dict[str, Trained] = {}
        for case in CLIENT_CASES:
            if given.only in f"{case.dataset}:{case.fault}":
                results += _client_case(server, folder, models, case, given.rows)
                print(results[-1], flush=True)
        bench = Bench(
            server,
            folder,
            folder / "data",
            lambda name, frame: _send(server, name, [(GOOD, frame)], np.random.default_rng(0)),
            lambda name: _diagnose(server, name),
        )
        for name, run_answer in ANSWER_CASES.items():
            if given.only in f"answers:{name}":
                results.append(Result(**run_answer(bench, name)))
                print(results[-1], flush=True)
        for name, run_case in GATE_CASES.items():
            if given.only in f"gate:{name}":
                results.append(Result(**run_case(server, folder)))
                print(results[-1], flush=True)
    table = pd.DataFrame([vars(result) for result in results])
    print(table.drop(columns="seconds").to_string(index=False))
    print(
        f"{len(table)} cases: kind exact {table.is_exact.mean():.1%}, columns {table.is_feature.mean():.1%}, "
        f"client {table.is_segment.dropna().mean():.1%} of {table.is_segment.notna().sum()}, "
        f"{table.seconds.median():.1f} s a diagnosis (median)"
    )
    if given.out:
        table.to_csv(given.out, index=False)


def _client_case(
    server: Tallystick, folder: Path, models: dict[str, Trained], case: ClientCase, rows: int
) -> list[Result]:
    ref, pool, y_ref, y_pool = _table(case.dataset)
    if case.dataset not in models:
        kept = [name for name in ref if MARK not in name]
        models[case.dataset] = train(folder / case.dataset, ref[kept], y_ref, pool[kept], y_pool)
    rng = np.random.default_rng(zlib.crc32(f"endpoint {case.dataset} {case.fault}".encode()))
    broken = _broken(case, ref, pool, rng, rows)
    frame, truth = broken
    name = f"{case.dataset}-{case.fault}".replace("_", "-").replace(".", "-").replace(MARK, "-")[:60]
    server.deploy(name, {"name": "model", "entity_name": str(models[case.dataset].folder)})
    parts = [(BAD, frame)]
    if case.share < 1:
        others = round(len(frame) * (1 - case.share) / case.share)
        fair = pool[[name for name in pool if MARK not in name]]
        parts.append((GOOD, fair.iloc[rng.choice(len(pool), others)].reset_index(drop=True)))
    _send(server, name, parts, rng)
    began = time.monotonic()
    verdict = _diagnose(server, name)
    seconds = time.monotonic() - began
    server.api("DELETE", f"/{name}")
    segment = verdict.get("segment") or {}
    is_claimed = verdict["status"] in ("cause_found", "suspected")
    return [
        Result(
            place="client",
            dataset=case.dataset,
            case=case.fault,
            share=case.share,
            expected="|".join(truth.kinds),
            status=verdict["status"],
            kind=verdict.get("kind", ""),
            features=",".join(verdict.get("features", [])),
            segment=str(segment.get("value", "")),
            is_exact=is_claimed and verdict.get("kind") in truth.kinds,
            is_feature=set(verdict.get("features", [])) == set(truth.features),
            is_segment=None if case.share == 1 else segment.get("value") in (BAD, "ios/4.2", "ios 4.2"),
            seconds=seconds,
        )
    ]


def _table(name: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    """Return rows to train on and others, with their labels; `_settled` has a column that knew the label."""
    table: Any = next((each for each in (*DATASETS, *COUNTED) if each.name == name.removesuffix("_settled")), None)
    assert table is not None, name
    ref, pool, y_ref, y_pool = split(table, 0)
    if not name.endswith("_settled"):
        return ref, pool, y_ref, y_pool
    rng, upper = np.random.default_rng(0), y_ref.max()
    ref, pool = (
        part.assign(settled=np.round(np.where(y == upper, rng.gamma(4, 50, len(y)), rng.gamma(2, 4, len(y))), 2))
        for part, y in ((ref, y_ref), (pool, y_pool))
    )
    return ref, pool, y_ref, y_pool


def _broken(
    case: ClientCase, ref: pd.DataFrame, pool: pd.DataFrame, rng: np.random.Generator, rows: int
) -> tuple[pd.DataFrame, Truth]:
    for _ in range(10):
        live = pool.iloc[rng.choice(len(pool), min(rows, len(pool)), replace=False)].reset_index(drop=True)
        if case.fault == "absent":
            return live.assign(settled=np.nan), Truth(("feature_absent",), ("settled",))
        column, _, other = case.fault.partition(MARK)
        if other:
            kind = "aggregate_changed" if other == "sum" else "window_changed"
            changed = live.assign(**{column: live[case.fault]})
            return changed[[name for name in changed if MARK not in name]], Truth((kind,), (column,))
        fault = next(fault for fault in FAULTS if fault.name == case.fault)
        names = fault.columns(ref)
        broken = fault.put(live, ref, str(rng.choice(names)), rng, 1.0)
        if broken is not None:
            return broken
    raise AssertionError(case)


def _send(server: Tallystick, name: str, parts: list[tuple[str, pd.DataFrame]], rng: np.random.Generator) -> None:
    """Send each row as one request of its client, the clients mixed."""
    requests = [(agent, row) for agent, frame in parts for row in as_records(frame)]
    rng.shuffle(requests)  # type: ignore[arg-type]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for agent, row in requests:
        body = json.dumps({"dataframe_records": [row]}).encode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {server.token}",
            "User-Agent": agent,
        }
        connection.request("POST", f"/serving-endpoints/{name}/invocations", body=body, headers=headers)
        connection.getresponse().read()
    connection.close()


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as a client's JSON: null for missing values, ISO 8601 for times."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


def _diagnose(server: Tallystick, name: str) -> dict[str, Any]:
    server.api("POST", f"/{name}/inference-table/flush")
    answer = server.api("POST", f"/{name}/parity/diagnose", {})
    verdicts = [each["verdict"] for each in answer["verdicts"]]
    return verdicts[0] if verdicts else {"status": "none"}


if __name__ == "__main__":
    main()
