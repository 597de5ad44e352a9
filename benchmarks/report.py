"""What a run has found, as JSON and as the Markdown between the markers of README.md."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from benchmarks import load
from benchmarks.bench import Bench, Loads, Row

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
#: With more foreign work than this, two runs do not agree.
_QUIET_PCT = 5.0
_PACKAGES = ("tallystick", "mlflow", "uvicorn", "httptools", "uvloop", "scikit-learn", "numpy", "pandas")


def machine() -> dict[str, Any]:
    """Return where the run is, and with what."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "taken_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "load_generator": load.generator(),
    }


@dataclass(frozen=True)
class CpuClock:
    """Seconds of CPU since boot, or during a run."""

    #: Of this process and of its children that have ended.
    ours_s: float
    #: Of all processes of the machine.
    busy_s: float
    #: That the hypervisor gave to others.
    steal_s: float

    @classmethod
    def read(cls) -> Self:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ours = sum(each.ru_utime + each.ru_stime for each in used)
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(each) / _TICKS_PER_S for each in fields)
        return cls(ours, user + nice + system + irq + softirq, steal)


def foreign_work(before: CpuClock, after: CpuClock, took_s: float) -> dict[str, float]:
    """Return which share of the machine, in percent, went to others during a run: processes, other machines."""
    whole_s = took_s * (os.cpu_count() or 1)
    others_s = (after.busy_s - before.busy_s) - (after.ours_s - before.ours_s)
    return {
        "other_processes_pct": round(max(0.0, others_s) / whole_s * 100, 1),
        "steal_pct": round((after.steal_s - before.steal_s) / whole_s * 100, 1),
    }


def document(bench: Bench, where: dict[str, Any], took_s: float) -> dict[str, Any]:
    """Return all that was found, for results.json."""
    return {
        "machine": where,
        "plan": asdict(bench.plan),
        "took_s": round(took_s),
        "rows": [
            asdict(row) | {"ratio": row.ratio, "target": row.target and str(row.target), "is_met": row.is_met}
            for row in bench.rows
        ],
        "loads": [asdict(each) for each in bench.loads],
        "errors": bench.errors(),
        "decode": bench.decode,
    }


def markdown(bench: Bench, where: dict[str, Any], took_s: float) -> str:
    """Return the same for a reader."""
    parts = [_machine_line(bench, where, took_s)]
    aimed = [row for row in bench.rows if row.target is not None]
    if aimed:
        parts += [f"### Targets\n\n{_verdict(aimed)}", _rows_table(aimed)]
    topics = list(dict.fromkeys(row.topic for row in bench.rows))
    for topic in topics:
        rows = [row for row in bench.rows if row.topic == topic and row.target is None]
        if rows:
            parts += [f"### {topic}", _rows_table(rows)]
    if bench.loads:
        errors = bench.errors()
        parts += [
            f"### Every load\n\n{load.CONNECTIONS} connections, one request at a time on each, medians of the rounds; "
            f"errors: {errors}, the target is 0: {'met' if not errors else '**not met**'}.",
            _loads_table(bench),
        ]
    if bench.decode:
        parts += ["### decode\n\nMicroseconds a request, no HTTP and no model.", _decode_table(bench.decode)]
    return "\n\n".join(parts)


def write(folder: Path, bench: Bench, where: dict[str, Any], took_s: float) -> None:
    """Write results.json, and the part of README.md that is between the markers."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(bench, where, took_s), indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n")
    readme = folder / "README.md"
    old = readme.read_text() if readme.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise RuntimeError(f"{readme} has lost its markers {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{markdown(bench, where, took_s)}\n\n{END}{after}")


def number(value: float) -> str:
    """Return a number with three digits that count.

    >>> [number(each) for each in (0.01234, 1.5, 12.34, 5300.4, 23450.0)]
    ['0.0123', '1.50', '12.3', '5,300', '23,450']
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _verdict(rows: Sequence[Row]) -> str:
    missed = [row for row in rows if not row.is_met]
    if not missed:
        return f"All {len(rows)} are met."
    names = "; ".join(f"{row.topic}: {row.what}" for row in missed)
    return f"{len(rows) - len(missed)} of {len(rows)} are met. Not met: {names}."


def _machine_line(bench: Bench, where: dict[str, Any], took_s: float) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    return (
        f"Machine: {where['cpu']}, {where['cores']} cores, {where['memory_gb']} GB, {where['system']}, "
        f"Python {where['python']}; {packages}.\n"
        f"Taken {where['taken_at']} with plan `{bench.plan.name}` in {took_s:.0f} s; load from "
        f"{where['load_generator']}. Of the machine's CPU time, {where['other_processes_pct']} % went to other "
        f"processes and {where['steal_pct']} % to other virtual machines{_warning(where)}."
    )


def _warning(where: dict[str, Any]) -> str:
    foreign = where["other_processes_pct"] + where["steal_pct"]
    return ": **the machine was not quiet, the numbers are not fit to be quoted**" if foreign > _QUIET_PCT else ""


def _rows_table(rows: Iterable[Row]) -> str:
    head = ("topic", "number", "Tallystick", "beside it", "", "ratio", "target", "")
    return _table(head, (_cells(row) for row in rows))


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {True: "met", False: "**not met**", None: ""}[row.is_met]
    ratio = f"{number(row.ratio)}x" if row.ratio is not None else ""
    beside = f"{number(row.beside_value)} {row.unit}" if row.beside_value is not None else ""
    target = str(row.target) if row.target is not None else ""
    if row.target is not None and row.target.of == "value":
        target += f" {row.unit}"
    return row.topic, row.what, f"{number(row.value)} {row.unit}", row.beside, beside, ratio, target, verdict


def _loads_table(bench: Bench) -> str:
    head = ("topic", "what", "rounds", "requests", "1/s", "lowest to highest", "p50 ms", "p99 ms", "errors")
    return _table(head, (_load_cells(each) for each in bench.loads))


def _load_cells(loads: Loads) -> tuple[str, ...]:
    middle = load.median_of(loads.rounds)
    rates = [each.per_s for each in loads.rounds]
    return (
        loads.topic,
        loads.what,
        str(len(rates)),
        f"{middle.requests:,}",
        number(middle.per_s),
        f"{number(min(rates))} to {number(max(rates))}",
        number(middle.p50_ms),
        number(middle.p99_ms),
        str(middle.errors),
    )


def _decode_table(lines: Iterable[dict[str, Any]]) -> str:
    head = ("columns", "rows", "form", "decode", "with the frame", "MLflow", "faster")
    return _table(
        head,
        (
            (
                line["columns"],
                str(line["rows"]),
                f"`{line['form']}`",
                *(number(line[key]) for key in ("decode_us", "frame_us", "mlflow_us")),
                f"{number(line['mlflow_us'] / line['frame_us'])}x",
            )
            for line in lines
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(head)} |"
        yield f"|{'---|' * len(head)}"
        for row in rows:
            yield f"| {' | '.join(row)} |"

    return "\n".join(lines())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
