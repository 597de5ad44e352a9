"""The cases as files that every tool reads: one JSON file a frame, and the truth in a file that no tool is given.

JSON and not CSV: a CSV reader turns "1.5" into a number and "None" into a missing value, which hides the fault from
the tool. A column is its name, its type and its values; floats are written so that they come back exactly.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.parity.data import Dataset
from benchmarks.parity.faults import Case
from benchmarks.parity.run import cases, split

PLAIN = "benign:plain"


@dataclass(frozen=True)
class Written:
    """One case as it was written; `kinds` and `features` are empty where nothing is wrong."""

    id: str
    dataset: str
    half: str
    case: str
    share: float
    kinds: tuple[str, ...]
    features: tuple[str, ...]

    @property
    def is_fault(self) -> bool:
        return bool(self.kinds)


def _plain_value(value: Any) -> Any:
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else getattr(value, "item", lambda: value)()


def column_type(column: pd.Series) -> str:
    """Return `int`, `float`, `bool`, `datetime`, `text` (strings and missing values only) or `mixed`."""
    kinds = {"i": "int", "u": "int", "f": "float", "b": "bool", "M": "datetime"}
    if column.dtype.kind in kinds:
        return kinds[column.dtype.kind]
    present = column.dropna()
    if len(present) and all(isinstance(value, pd.Timestamp) for value in present):
        return "datetime"
    return "text" if all(isinstance(value, str) for value in present) else "mixed"


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    columns = [
        {
            "name": str(name),
            "type": column_type(frame[name]),
            "values": [_plain_value(value) for value in frame[name].astype(object)],
        }
        for name in frame.columns
    ]
    path.write_text(json.dumps(columns))


def _order(fault: str, dataset: str) -> int:
    return zlib.crc32(f"{fault} {dataset}".encode())


def chosen(
    datasets: Iterable[Dataset], rows: int, shares: tuple[float, ...], seed: int, spread: int
) -> Iterator[tuple[Dataset, Case]]:
    """Yield each fault on `spread` data sets of each half (by a hash of both names), each benign change on all.

    The rows are those of ParityBench's first repeat; plain samples are three a data set, other benign changes one.
    """
    found = [(data, case) for data in datasets for case in cases(data, rows, 1, shares, seed)]
    where: dict[tuple[str, str], set[str]] = {}
    for data, case in found:
        where.setdefault((data.half, case.name), set()).add(data.name)
    kept = {key: set(sorted(names, key=lambda n: _order(key[1], n))[:spread]) for key, names in where.items()}
    seen: set[tuple[str, str]] = set()
    for data, case in found:
        if case.truth is not None:
            if data.name in kept[data.half, case.name]:
                yield data, case
        elif case.name == PLAIN or (case.name, data.name) not in seen:
            seen.add((case.name, data.name))
            yield data, case


def write_cases(
    folder: Path, datasets: list[Dataset], rows: int, shares: tuple[float, ...], seed: int, spread: int
) -> list[Written]:
    """Write references, live frames, `cases.json` (for the tools) and `truth.json` (not for them).

    What tools said of other cases that the folder held before is deleted.
    """
    truth = folder / "truth.json"
    before = truth.read_text() if truth.exists() else ""
    for data in datasets:
        write_frame(split(data, seed)[0], folder / f"reference-{data.name}.json")
    written = []
    for number, (data, case) in enumerate(chosen(datasets, rows, shares, seed, spread)):
        name = f"{number:04d}"
        write_frame(case.live, folder / f"live-{name}.json")
        kinds, features = (case.truth.kinds, case.truth.features) if case.truth else ((), ())
        written.append(Written(name, data.name, data.half, case.name, case.share, kinds, features))
    given = [{"id": w.id, "reference": f"reference-{w.dataset}.json", "live": f"live-{w.id}.json"} for w in written]
    (folder / "cases.json").write_text(json.dumps(given))
    truth.write_text(json.dumps([asdict(w) for w in written]))
    if truth.read_text() != before:
        for old in folder.glob("*.jsonl"):
            old.unlink()
    return written
