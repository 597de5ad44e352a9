"""`python -m benchmarks.parity.peers [--only NAME] [--rows 200] [--spread 1] [--out FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd

from benchmarks.parity.data import DATASETS
from benchmarks.parity.peers.environments import (
    OWN,
    DidNotInstall,
    DidNotRun,
    own_python,
    python_of,
    read_pins,
    run_adapter,
    versions,
)
from benchmarks.parity.peers.files import Written, write_cases
from benchmarks.parity.peers.scoring import Scored, markdown, score, table
from benchmarks.parity.peers.tuning import tuned
from benchmarks.report import machine

SHOWN_OF_OURS = {"tallystick": ("tallystick", "pandas", "numpy"), "by_hand": ("scikit-learn", "pandas", "numpy")}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="one tool: tallystick, by_hand or a name of pins.toml")
    parser.add_argument("--half", choices=("tune", "report", "both"), default="report")
    parser.add_argument("--dataset", default="", help="part of a data set's name")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--shares", default="1.0,0.3")
    parser.add_argument("--spread", type=int, default=1, help="on how many data sets each fault is tried")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds a tool may take for all cases")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for cases, findings and logs")
    parser.add_argument("--reuse", action="store_true", help="take what tools said of the same cases from --keep")
    parser.add_argument("--out", type=Path, default=None, help="a CSV file, one line a case, tool and setting")
    return parser


def main() -> int:
    given = _parser().parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    pins = read_pins()
    tools = [tool for tool in (*OWN, *pins) if given.only in ("", tool)]
    if not tools:
        print(f"--only {given.only}: expected one of {', '.join((*OWN, *pins))}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="tallystick-peers-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        datasets = [d for d in DATASETS if given.half in ("both", d.half) and given.dataset in d.name]
        shares = tuple(float(share) for share in given.shares.split(","))
        written = write_cases(folder, datasets, given.rows, shares, given.seed, given.spread)
        _say(f"{len(written)} cases, {sum(case.is_fault for case in written)} with a fault")
        scored, notes = _all(tools, folder, written, given.timeout, given.reuse)
    _report(scored, notes)
    if given.out:
        pd.DataFrame([vars(line) for line in scored]).to_csv(given.out, index=False)
    return 0 if scored else 1


def _all(
    tools: list[str], folder: Path, written: list[Written], timeout_s: float, may_reuse: bool
) -> tuple[list[Scored], list[str]]:
    """Run the tools one after the other; a tool that cannot is a note."""
    pins = read_pins()
    scored: list[Scored] = []
    notes = []
    for tool in tools:
        out = folder / f"{tool}.jsonl"
        started = time.perf_counter()
        try:
            python = own_python() if tool in OWN else python_of(tool, pins[tool])
            shown = SHOWN_OF_OURS[tool] if tool in OWN else pins[tool].shown
            notes.append(f"{tool}: {versions(python, shown)}")
            if not (may_reuse and out.exists()):
                run_adapter(tool, python, folder, out, timeout_s)
        except DidNotInstall as error:
            notes.append(f"{tool}: did not install: {error}")
        except DidNotRun as error:
            notes.append(f"{tool}: did not run: {error}")
        else:
            scored += read_findings(tool, out, folder, written)
        _say(f"{tool}: {time.perf_counter() - started:.0f} s")
    return scored, notes


def read_findings(tool: str, out: Path, folder: Path, written: list[Written]) -> list[Scored]:
    truths = {case.id: case for case in written}
    columns = {
        name: [column["name"] for column in json.loads((folder / f"reference-{name}.json").read_text())]
        for name in {case.dataset for case in written}
    }
    records = [json.loads(line) for line in out.read_text().splitlines()]
    records += tuned(records, truths)
    return [score(tool, record, truths[record["id"]], columns[truths[record["id"]].dataset]) for record in records]


def _report(scored: list[Scored], notes: list[str]) -> None:
    where = machine()
    print(f"{where['taken_at']}, {where['cpu']}, {where['cores']} cores, {where['system']}, Python {where['python']}\n")
    for note in notes:
        print(f"* {note}")
    for half in sorted({line.half for line in scored}):
        lines = [line for line in scored if line.half == half]
        ids = {line.id: line for line in lines}.values()
        faults = sum(line.is_fault for line in ids)
        plain = sum(line.is_plain for line in ids)
        print(f"\nHalf `{half}`: {faults} faults, {len(ids) - faults - plain} benign changes, {plain} plain samples.\n")
        print(markdown(table(lines)))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
