"""Measure the claims of benchmarks/README.md: `python -m benchmarks [--quick] [--only TOPIC ...]`.

A full run writes results.json and the tables of README.md; a quick one, or one of some topics, only prints them.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import report
from benchmarks.bench import FULL, QUICK, Bench

#: In this order: what loads a model into this process comes last.
TOPICS = (
    "throughput",
    "gateway",
    "recording",
    "monitoring",
    "memory",
    "times",
    "growth",
    "endpoints",
    "change",
    "floor",
    "decode",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute: shows that it runs, not how fast")
    parser.add_argument("--only", nargs="+", choices=TOPICS, metavar="TOPIC", help=f"some of: {', '.join(TOPICS)}")
    parser.add_argument("--out", type=Path, help="folder for results.json and README.md, for any run")
    options = parser.parse_args()
    # A terminal's Ctrl-C already unwinds what runs; a stop from outside must too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = QUICK if options.quick else FULL
    is_whole = not options.quick and not options.only
    out = options.out or (Path(__file__).parent if is_whole else None)
    began, where, before = time.monotonic(), report.machine(), report.CpuClock.read()
    folder = Path(tempfile.mkdtemp(prefix="tallystick-bench-"))
    try:
        with ExitStack() as stack:
            bench = Bench(plan, folder, stack)
            for topic in options.only or TOPICS:
                _say(began, topic)
                importlib.import_module(f"benchmarks.{topic}").run(bench)
            _say(began, "stopping")
    except BaseException:
        print(f"What was started is stopped; its files are in {folder}", file=sys.stderr)
        raise
    took_s = time.monotonic() - began
    where |= report.foreign_work(before, report.CpuClock.read(), took_s)
    print(report.markdown(bench, where, took_s))
    if out is not None:
        report.write(out, bench, where, took_s)
    shutil.rmtree(folder, ignore_errors=True)
    missed = [row for row in bench.rows if row.is_met is False]
    errors = bench.errors()
    print(f"\n{len(missed)} targets not met, {errors} errors; {took_s:.0f} s", file=sys.stderr)
    return 1 if errors else 0


def _say(began: float, what: str) -> None:
    print(f"[{time.monotonic() - began:4.0f} s] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
