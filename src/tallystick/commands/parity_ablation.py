"""`tallystick parity check MODEL --ablate`: which package of this environment changes a model's golden predictions.

What it shows is a document of its own in the result of the check, `ablation`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tallystick.commands.config_edit import Json
from tallystick.gate.report import GateReport, Outcome, Rung
from tallystick.printable import count

if TYPE_CHECKING:
    from tallystick.gate.golden import Golden
    from tallystick.parity.ablation import Runner
    from tallystick.parity.endpoint import Environment

Say = Callable[[str], None]
#: Named of the versions that are tried.
_SHOWN = 4


def uv_runner(folder: Path, golden: Golden) -> Runner:
    """Return what builds environments and asks the model there."""
    from tallystick.parity.ablation import UvRunner

    return UvRunner(folder, golden)


def ablation_of(folder: Path, report: Mapping[str, Any] | None, say: Say) -> Json:
    """Return what an ablation of the model in `folder` came to, after it was checked here. Takes minutes.

    `outcome` is `guilty` (packages are named), `cleared`, `undecided`, `skipped` (there is no question) or `failed`.
    """
    reason = _no_question(report)
    if reason:
        return _document("skipped", reason)
    # SciPy and pandas, which take a second to import.
    from tallystick.gate import environment, golden
    from tallystick.parity.ablation import AblationFailed, ablate

    rows = golden.find(folder)
    if rows is None or not rows.environment:
        return _document("skipped", "The golden rows do not say in which environment the model was trained.")
    here = environment.observe(environment.packages_of(rows.environment))
    runner, started = _Told(uv_runner(folder, rows), here, say), time.monotonic()
    try:
        found = ablate(rows, here, runner)
    except AblationFailed as error:
        return _document("failed", _sentence(error.message), None, runner, started)
    outcome = "guilty" if found.guilty else "cleared" if found.is_cleared else "undecided"
    return _document(outcome, found.ruling, found, runner, started)


def ablation_lines(found: Json) -> Iterator[str]:
    """Yield the result in words; nothing where no ablation was asked for."""
    ablation = found.get("ablation")
    if ablation is None:
        return
    builds = ablation["builds"]
    spent = f" ({count(builds, 'environment')}, {ablation['seconds']:.0f} s)" if builds else ""
    yield f"Ablation: {ablation['text']}{spent}"


@dataclass
class _Told:
    """A runner that says what it is at."""

    runner: Runner
    here: Mapping[str, str]
    say: Say
    builds: int = field(default=0)

    def predict(self, versions: Mapping[str, str]) -> list[list[Any]]:
        self.builds += 1
        self.say(f"Environment {self.builds}: {self._changes(versions)}")
        return self.runner.predict(versions)

    def _changes(self, versions: Mapping[str, str]) -> str:
        from tallystick.gate.environment import PACKAGE

        here = {key.removeprefix(PACKAGE): text for key, text in self.here.items()}
        changed = [f"{name} {text}" for name, text in versions.items() if here.get(name) != text]
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return f"training's {', '.join(changed[:_SHOWN])}{more}" if changed else "this one, built again"


def _no_question(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return "The model was not checked."
    checked = msgspec.convert(report, GateReport)
    if checked.outcome is Outcome.SKIPPED:
        return "There are no golden rows to predict."
    differs = any(rung.rung is Rung.PREDICTION and rung.outcome is Outcome.NOTED for rung in checked.rungs)
    if checked.outcome is Outcome.PASSED and not differs:
        return "This environment gives training's predictions."
    return ""


def _document(
    outcome: str, text: str, found: Environment | None = None, runner: _Told | None = None, started: float = 0.0
) -> Json:
    differences = found.relevant if found is not None else ()
    named = [{"name": each.name, "training": each.training, "serving": each.serving} for each in differences]
    guilty = found.guilty if found is not None else ()
    return {
        "outcome": outcome,
        "text": text,
        "guilty": [each for each in named if each["name"] in guilty],
        "differences": named,
        "builds": runner.builds if runner is not None else 0,
        "seconds": round(time.monotonic() - started, 1) if runner is not None else 0.0,
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", ")")) else ".")
