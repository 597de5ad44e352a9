"""What the scripts of the tools share. Standard library and pandas (1.5 to 3) only: it runs in each tool's environment.

A script gives `run` two functions: `prepare(reference)` makes what may be made once for a reference, and
`judge(prepared, live)` yields, for each setting in turn, what the tool said about live rows.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass
class Finding:
    """What a tool said of one case: alarm or not, and each of its sentences with the columns it is about.

    `scores` has a number a column, greater for more difference, where the tool gives one.
    """

    alarm: bool = False
    says: list[tuple[list[str], str]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)


Judge = Callable[[Any, pd.DataFrame], Iterator[tuple[str, Finding]]]


def read_frame(path: Path) -> pd.DataFrame:
    """Return a frame as `pandas.read_csv` would type it, but that text stays text.

    A column that mixes text with numbers is text throughout, as it is in a table that was read from a log.
    """
    columns = {}
    for column in json.loads(path.read_text()):
        kind, values = column["type"], column["values"]
        if kind == "datetime":
            stamps = [pd.NaT if value is None else pd.Timestamp(value) for value in values]
            columns[column["name"]] = pd.Series(stamps, dtype="datetime64[ns]")
        elif kind in ("int", "bool"):
            columns[column["name"]] = pd.Series(values, dtype="int64" if kind == "int" else "bool")
        elif kind == "float":
            columns[column["name"]] = pd.Series(values, dtype="float64")
        else:
            texts = [np.nan if value is None else str(value) for value in values]
            columns[column["name"]] = pd.Series(texts, dtype="object")
    return pd.DataFrame(columns)


def texts(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if frame[name].dtype.kind not in "iufbM"]


def times(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if frame[name].dtype.kind == "M"]


def _error(error: Exception) -> str:
    line = str(error).strip().replace("\n", " ")[:500]
    return f"{type(error).__name__}: {line}"


def judged(
    judge: Judge, settings: tuple[str, ...], prepared: Any, live: pd.DataFrame, each_by_itself: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield one record a setting. A tool that raises has `failed` set, for this setting and those it did not reach.

    CPU seconds, from the start of the case, as later settings build on earlier ones, unless each is by itself.
    """
    missing = list(settings)
    started = time.process_time()
    try:
        if isinstance(prepared, Exception):
            raise prepared
        for setting, finding in judge(prepared, live):
            yield {"setting": setting, **asdict(finding), "failed": "", "seconds": time.process_time() - started}
            missing.remove(setting)
            if each_by_itself:
                started = time.process_time()
    except Exception as error:  # noqa: BLE001 - the boundary of one case: what a tool raises is a result
        traceback.print_exc()
        for setting in missing:
            took = time.process_time() - started
            yield {"setting": setting, **asdict(Finding()), "failed": _error(error), "seconds": took}


def run(
    prepare: Callable[[pd.DataFrame], Any], judge: Judge, settings: tuple[str, ...], each_by_itself: bool = False
) -> None:
    """Judge all cases of the folder given as the first argument into the file given as the second."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    prepared: dict[str, Any] = {}
    with out.open("w") as lines:
        for case in json.loads((folder / "cases.json").read_text()):
            if case["reference"] not in prepared:
                try:
                    prepared[case["reference"]] = prepare(read_frame(folder / case["reference"]))
                except Exception as error:  # noqa: BLE001 - the same, for a reference
                    traceback.print_exc()
                    prepared[case["reference"]] = error
            live = read_frame(folder / case["live"])
            for record in judged(judge, settings, prepared[case["reference"]], live, each_by_itself):
                lines.write(json.dumps({"id": case["id"], **record}, default=str) + "\n")
            lines.flush()
