"""`python -m benchmarks.parity [--quick] [--half tune|report|fresh|more] [--rows 200] [--only NAME] [--out FILE]`."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import pandas as pd

from benchmarks.parity.data import DATASETS
from benchmarks.parity.run import Outcome, rows_to_name, run, summary
from benchmarks.parity.speed import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repeat, about two minutes on one core")
    parser.add_argument("--offline", action="store_true", help="only data sets that need no download")
    parser.add_argument("--half", choices=("tune", "report", "fresh", "more"), default=None)
    parser.add_argument("--dataset", default="")
    parser.add_argument("--only", default="", help="part of a fault's name, benign, or more: (other forms)")
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
    outcomes: list[Outcome] = []
    needed: list[dict[str, object]] = []
    for data in DATASETS:
        if (
            (given.half and data.half != given.half)
            or given.dataset not in data.name
            or (given.offline and data.needs_network)
        ):
            continue
        if given.rows_to_name:
            needed += rows_to_name(data, given.seed)
            continue
        shares = tuple(float(share) for share in given.shares.split(","))
        outcomes += run(data, given.rows, 1 if given.quick else given.repeats, shares, given.seed, given.only)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if given.rows_to_name:
        print(pd.DataFrame(needed).groupby(["half", "family"]).rows.describe(percentiles=[0.5, 0.9]).to_string())
        return
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
    if given.out:
        table.to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
