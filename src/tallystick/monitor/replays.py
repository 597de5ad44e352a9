"""Golden rows and live rows through the replicas themselves, by way of control: the first rungs of the ladder.

Which model a replica holds is asked before anything else, since a wrong one explains every odd prediction.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np
import pandas as pd

from tallystick.gate.report import GateReport, Outcome, Rung, RungReport
from tallystick.monitor.ablated import with_ablation
from tallystick.monitor.ablation_records import Ablated
from tallystick.parity.advice import DIGESTS, ENVIRONMENT, fix_for
from tallystick.parity.intervene import Replay
from tallystick.parity.kinds import Status
from tallystick.parity.verdict import Evidence, Verdict, family_of
from tallystick.printable import count
from tallystick.protocol.monitoring import Replayed, Replaying

_KINDS = {
    Rung.ENVIRONMENT: "environment_differs",
    Rung.STEPS: "step_differs",
}
#: The gate's words for packages that the model uses and that are others than in training.
_LIKELY = "Likely cause: "
_DIFFERING = re.compile(r"(\S+) is ([^,;]+?) here, ([^\s;,]+) in training")
_CHECK_S, _PREDICT_S = 20.0, 15.0
#: Why no replica was asked, and who can say what one would.
NO_SERVER = (
    "no server was asked; tallystick parity check MODEL replays golden rows where it runs, and --ablate says which "
    "package changes them"
)


class Asks(Protocol):
    """What `line.MonitorLine` is here: it asks control."""

    def ask(
        self, what: Replaying, endpoint: str, served_entity: str, body: bytes = b"", timeout_s: float = 20.0
    ) -> Replayed:
        """Return the answer, or one with a problem."""


class CannotReplay(ValueError):
    """Rows could not be predicted by a replica; the text says why."""


@dataclass(frozen=True)
class Checked:
    """What replicas said. `reports` is by replica; `problem` says why there are none."""

    reports: Mapping[str, GateReport] = field(default_factory=dict)
    problem: str = ""
    #: What is known of the environment of a replica whose golden rows differ.
    ablated: Mapping[str, Ablated] = field(default_factory=dict)


@dataclass(frozen=True)
class Replicas:
    """The replicas of one served entity."""

    line: Asks
    endpoint: str
    served_entity: str
    #: Asks for what is known of the environment that a report is from.
    ablated: Callable[[GateReport], Ablated | None] = lambda _report: None

    def check(self) -> Checked:
        """Have golden rows replayed on each replica. Blocks for seconds."""
        answer = self.line.ask(Replaying.CHECK, self.endpoint, self.served_entity, timeout_s=_CHECK_S)
        if answer.problem:
            return Checked(problem=answer.problem)
        try:
            reports = msgspec.json.decode(answer.body, type=dict[str, GateReport])
        except msgspec.MsgspecError:
            return Checked(problem="the replicas' answer could not be read")
        known = {name: self.ablated(each) for name, each in reports.items() if is_of_answers(each)}
        return Checked(reports, ablated={name: each for name, each in known.items() if each is not None})

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return the predictions of one replica for rows. Raises CannotReplay."""
        answer = self.line.ask(
            Replaying.PREDICT, self.endpoint, self.served_entity, split_body(frame), timeout_s=_PREDICT_S
        )
        if answer.problem:
            raise CannotReplay(answer.problem)
        try:
            values = _as_table(msgspec.json.decode(answer.body)["predictions"])
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise CannotReplay("the answer has no predictions") from error
        if len(values) != len(frame):
            raise CannotReplay(f"{count(len(values), 'prediction')} for {count(len(frame), 'row')}")
        return values


def _as_table(predictions: Any) -> Any:
    """Return predictions as an array with a row for each row; named outputs lose their names.

    >>> _as_table([{"a": 1.0, "b": 2.0}]).tolist()
    [[1.0, 2.0]]
    """
    if isinstance(predictions, list) and predictions and all(isinstance(each, dict) for each in predictions):
        predictions = [list(each.values()) for each in predictions]
    return np.asarray(predictions)


def split_body(frame: pd.DataFrame) -> bytes:
    """Return rows as the body of an invocation; numbers keep all their digits, what is missing is null."""
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return msgspec.json.encode({"dataframe_split": {"columns": [str(name) for name in frame.columns], "data": rows}})


def _plain(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value if isinstance(value, str | int | bool) else str(value)


def wrong_version(checked: Checked, digest: str, model_version: str) -> Verdict | None:
    """Return the verdict when a replica holds another model than the one that was asked for; None else."""
    told = {replica: report for replica, report in checked.reports.items() if report.digest}
    wrong = sorted(replica for replica, report in told.items() if report.digest != digest)
    if not digest or not wrong:
        return None
    asked = f" (version {model_version})" if model_version else ""
    lines = [
        f"replica {replica} holds the model {told[replica].digest[:12]}, asked for was {digest[:12]}{asked}"
        for replica in wrong[:3]
    ]
    equal = len(told) - len(wrong)
    lines.append(f"{equal} of {len(told)} replicas hold what was asked for")
    return Verdict(
        status=Status.CAUSE_FOUND,
        family=family_of("wrong_version"),
        kind="wrong_version",
        transformation={"digest": told[wrong[0]].digest, "asked": digest},
        share=len(wrong) / len(told),
        segment={
            "column": "replica",
            "value": wrong[0],
            "share_of_rows": len(wrong) / len(told),
            "affected_inside": 1.0,
            "affected_outside": 0.0,
        },
        stage="routing",
        strength="proof",
        confidence=0.99,
        evidence=tuple(Evidence(n + 1, text, "replay") for n, text in enumerate(lines)),
        fix=fix_for("wrong_version"),
    )


def failed_replay(
    checked: Checked, how: Callable[[], tuple[str, float | None]] = lambda: ("prediction_differs", None)
) -> Verdict | None:
    """Return the verdict when golden rows give other predictions than in training on a replica; None else.

    `how` is asked what answers differ by, where steps and environment do not tell. A package of the model that is
    another one outweighs the step in which it shows, unless environments were built that clear it.
    """
    for replica, report in sorted(checked.reports.items()):
        ablated = checked.ablated.get(replica)
        failure = _convicting(report, ablated)
        # One without a difference was not reached: that says nothing of its predictions.
        if failure is None or failure.difference is None:
            continue
        kind = _KINDS.get(failure.rung, "prediction_differs")
        shift: float | None = None
        if failure.rung is Rung.PREDICTION:
            kind, shift = how()
        _, _, likely = failure.text.partition(_LIKELY)
        kind = "environment_differs" if likely and kind == "step_differs" else kind
        place = failure.difference
        found: dict[str, Any] = (
            {}
            if place is None
            else {key: value for key, value in msgspec.to_builtins(place).items() if key not in ("column",)}
        )
        if shift is not None:
            found |= {"log_odds": shift, "rate": math.exp(shift)}
        if likely:
            found |= _packages_in(likely)
        evidence = [f"golden rows on replica {replica}: {failure.rung.value} differs from training. {failure.text}"]
        passed = [rung.rung.value for rung in report.rungs if rung.outcome is Outcome.PASSED]
        if passed:
            evidence.append(f"equal before it: {', '.join(passed)}")
        is_inferred = kind == "environment_differs"
        verdict = Verdict(
            status=Status.CAUSE_FOUND,
            family=family_of(kind),
            kind=kind,
            features=(place.column,) if place.column and kind != "environment_differs" else (),
            transformation=found,
            share=place.share if place is not None and place.share else 1.0,
            stage="endpoint",
            # That answers differ is replayed; that packages are the reason is shown by building them only.
            strength="strong" if is_inferred else "proof",
            confidence=0.9 if is_inferred else 0.97,
            evidence=tuple(Evidence(n + 1, text, "replay") for n, text in enumerate(evidence)),
            fix=fix_for(kind),
        )
        return verdict if ablated is None else with_ablation(verdict, ablated)
    return None


def is_of_answers(report: GateReport) -> bool:
    """Whether golden rows got other answers, or other values in a step: not lost on the way, or never asked."""
    failure = report.first_failure
    rungs = (Rung.ENVIRONMENT, Rung.STEPS, Rung.PREDICTION)
    return failure is not None and failure.difference is not None and failure.rung in rungs


def _convicting(report: GateReport, ablated: Ablated | None) -> RungReport | None:
    """Return the first rung that failed, but for an environment that was built again and makes no difference."""
    failures = [rung for rung in report.rungs if rung.outcome is Outcome.FAILED]
    if ablated is None or not ablated.environment.is_cleared:
        return next(iter(failures), None)
    left = [rung for rung in failures if rung.rung is not Rung.ENVIRONMENT]
    left = left or [msgspec.structs.replace(rung, rung=Rung.PREDICTION) for rung in failures]
    cleared = [msgspec.structs.replace(rung, text=rung.text.partition(_LIKELY)[0].rstrip()) for rung in left]
    return next(iter(cleared), None)


def _packages_in(likely: str) -> dict[str, Any]:
    """Return the packages that the gate names as likely causes, with both versions, as a diagnosis has them.

    >>> _packages_in("scales is 2.0 here, 1.0 in training.")
    {'packages': ['scales'], 'training': {'scales': '1.0'}, 'serving': {'scales': '2.0'}}
    """
    found = _DIFFERING.findall(likely)
    return {
        "packages": [name for name, _, _ in found],
        "training": {name: then.rstrip(".") for name, _, then in found},
        "serving": {name: "" if now == "not installed" else now for name, now, _ in found},
    }


def not_reached(checked: Checked) -> tuple[str, ...]:
    """Return which replicas did not answer, in words."""
    failures = [(name, report.first_failure) for name, report in sorted(checked.reports.items())]
    return tuple(
        f"replica {name} was not checked: {each.text}" for name, each in failures if each and each.difference is None
    )


def ruled_out(checked: Checked, digest: str) -> tuple[str, ...]:
    """Return what the replicas' answers rule out, in words."""
    told = [report for report in checked.reports.values() if report.digest]
    lines = []
    equal = sum(report.digest == digest for report in told)
    if told and equal == len(told):
        replicas = "replica serves" if equal == 1 else "replicas serve"
        lines.append(f"routing ({equal}/{len(told)} {replicas} the digest that was asked for)")
    rungs = [rung for report in told for rung in report.rungs if rung.rung is Rung.ENVIRONMENT]
    if rungs and all(rung.outcome is Outcome.PASSED for rung in rungs):
        lines.append("environment (no relevant difference)")
    return tuple(lines)


def still_open(settle: Sequence[str], cleared: Sequence[str]) -> tuple[str, ...]:
    """Return what is left to settle, as a verdict has it, after what replicas have answered.

    >>> still_open(["digests of what the replicas serve", "labels"], ["routing (1/1 replica serves …)"])
    ('labels',)
    """
    answered = {step for step, word in _CLEARED_BY.items() if any(line.startswith(word) for line in cleared)}
    return tuple(step for step in settle if step not in answered)


#: What is to be settled -> how the line begins that says it is.
_CLEARED_BY = {DIGESTS: "routing (", ENVIRONMENT: "environment ("}


def as_replay(checked: Checked) -> Replay | None:
    """Return the replay that clears the endpoint; None when none was made."""
    reports = [report for report in checked.reports.values() if report.rows]
    if not reports or any(report.first_failure is not None for report in reports):
        return None
    passed = [
        report
        for report in reports
        if any(rung.rung is Rung.PREDICTION and rung.outcome is Outcome.PASSED for rung in report.rungs)
    ]
    rows = min((report.rows for report in passed), default=0)
    return Replay(rows, rows, 0.0) if rows else None
