"""`python -m benchmarks.parity [--quick] [--half tune|report|fresh|more] [--rows 200] [--only NAME] [--out FILE]`."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.parity.counts import COUNTED
from benchmarks.parity.data import DATASETS
from benchmarks.parity.run import Outcome, by_kind, rows_to_name, run, run_counted, run_served, summary
from benchmarks.parity.speed import measure

GROUPS = ("rows", "endpoint", "aggregates")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repeat, about two minutes on one core")
    parser.add_argument("--offline", action="store_true", help="only data sets that need no download")
    parser.add_argument("--half", choices=("tune", "report", "fresh", "more"), default=None)
    parser.add_argument("--dataset", default="")
    parser.add_argument("--only", default="", help="part of a fault's name, benign, or more: (other forms)")
    parser.add_argument("--group", choices=GROUPS, default=None, help="faults in rows, of endpoints, or in aggregates")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shares", default="1.0,0.3,0.05")
    parser.add_argument("--misses", action="store_true", help="list what was not named exactly, and false claims")
    parser.add_argument("--rows-to-name", action="store_true", help="how few rows are enough, instead of the cases")
    parser.add_argument("--speed", action="store_true", help="time of 1,000 rows x 50 columns, instead of the cases")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    if given.speed:
        print(measure().round(3).to_string(index=False))
        return
    if given.rows_to_name:
        needed = [line for data in _chosen(given, DATASETS) for line in rows_to_name(data, given.seed)]
        print(pd.DataFrame(needed).groupby(["half", "family"]).rows.describe(percentiles=[0.5, 0.9]).to_string())
        return
    outcomes = _run(given)
    print(file=sys.stderr)
    table = pd.DataFrame([vars(outcome) for outcome in outcomes])
    if given.misses:
        for line in table[~table.is_exact & ~table.case.str.startswith("benign")].itertuples():
            print(
                f"{line.dataset:14}{line.case:20}{line.share:5.2f} {line.column[:24]:25}"
                f"{line.status:19}{line.kind:20}{line.features[:40]}"
            )
        for line in table[table.claimed & table.case.str.startswith("benign")].itertuples():
            print(
                f"{line.dataset:14}{line.case:20}{line.rows:5d} {'':25}"
                f"{line.status:19}{line.kind:20}{line.features[:40]}"
            )
    print(summary(outcomes).round(3).to_string(index=False))
    kinds = by_kind(outcomes)
    if len(kinds):
        print(kinds.round(3).to_string(index=False))
    if given.out:
        table.to_csv(given.out, index=False)


def _chosen(given: argparse.Namespace, tables: Any) -> list[Any]:
    return [
        table
        for table in tables
        if (not given.half or table.half == given.half)
        and given.dataset in table.name
        and not (given.offline and getattr(table, "needs_network", True))
    ]


def _run(given: argparse.Namespace) -> list[Outcome]:
    """Return the outcomes of all groups that were asked for, table by table."""
    shares = tuple(float(share) for share in given.shares.split(","))
    how = (given.rows, 1 if given.quick else given.repeats, shares, given.seed, given.only)
    outcomes: list[Outcome] = []
    for group, tables, runs in (
        ("rows", DATASETS, run),
        ("endpoint", DATASETS, run_served),
        ("aggregates", COUNTED, run_counted),
    ):
        for table in _chosen(given, tables) if given.group in (None, group) else ():
            outcomes += runs(table, *how)  # type: ignore[operator]
            print(".", end="", file=sys.stderr, flush=True)
    return outcomes


if __name__ == "__main__":
    main()
