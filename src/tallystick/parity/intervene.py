"""Proof by intervention: replay golden rows, undo the fault on live rows, put it into labelled rows.

Each is a comparison that could have come out the other way (Galhotra et al. 2022): predictions of repaired rows could
have stayed odd, and labelled rows with the fault could have been predicted as well as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.gate.report import Difference, GateReport, Outcome, Rung
from tallystick.parity import golden
from tallystick.parity.answer_form import as_stored, comparable, differ_in_form
from tallystick.parity.apart import apart
from tallystick.parity.columns import Floats, Mask, in_dtype
from tallystick.parity.detect.finding import Finding
from tallystick.parity.live import Live
from tallystick.parity.outputs import paired_tables, predicted_table
from tallystick.parity.yardsticks import ks_bound, ks_distance

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Relative difference up to which two predictions are the same (another CPU or BLAS).
SAME = 1e-6
#: Rows that may differ all the same: leaves that flip at a threshold.
FLIP_SHARE = 0.001
#: Scores inside 0 and 1 that tell what they differ by; from how many on single ones may disagree; the range they need;
#: and the share that has to agree.
FEWEST_TELLING, MANY_TELLING, LEAST_RANGE, ALL_BUT = 4, 20, 0.02, 0.99
#: Labels of more classes are not looked into.
MOST_CLASSES = 20
#: Rungs of a check that send golden rows, in the order in which a difference is met.
_REPLAYED = frozenset({Rung.WIRE, Rung.STEPS, Rung.PREDICTION})
#: Least share of the predictions' shift that undoing must take away to count as a repair.
REPAIRED = 0.5


@dataclass(frozen=True)
class Replay:
    """Golden rows predicted again: how many are equal, of how many, the largest difference; `kind` of a fault.

    `step` and `column` say where values differ first, `encoding` the wire form they differ in, as far as known.
    """

    equal: int
    rows: int
    largest: float
    kind: str = ""
    step: str = ""
    column: str = ""
    encoding: str = ""
    expected: str = ""
    got: str = ""
    #: Constant by which log-odds differ, where they do by one.
    log_odds: float | None = None
    #: Class -> the class in whose place its probability stands, of three classes or more.
    classes: Mapping[str, str] = field(default_factory=dict)
    #: Answers that are no numbers where training's are.
    no_numbers: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether the endpoint is cleared."""
        return self.rows > 0 and self.rows - self.equal <= FLIP_SHARE * self.rows


@dataclass(frozen=True)
class Repair:
    """Distance of predictions to training as sent and as undone; `bound` is what a fair sample stays under.

    As sent is as read: numbers in texts and levels in another spelling are read as what they are. `live` is the
    distance of what was answered to the rows as they came, where that is known: it is told, and proves nothing.
    """

    before: float
    after: float
    bound: float
    live: float | None = None

    @property
    def is_proof(self) -> bool:
        """Whether predictions were odd and undoing the cause makes them training's again.

        A small part of a small distance proves nothing: at least half of it has to go, or all but what half the bound
        leaves.
        """
        return self.before > self.bound and self.after < max(self.bound / 2, (1 - REPAIRED) * self.before)


@dataclass(frozen=True)
class Transplant:
    """The metric on labelled rows as they are, with the fault put in, and live where labels are known."""

    metric: str
    clean: float
    broken: float
    live: float | None = None

    @property
    def explained(self) -> float | None:
        """Share of the live gap that the fault alone makes, 0 to 1 or above; None without labels or gap."""
        if self.live is None or not np.isfinite(self.broken) or abs(self.live - self.clean) < 1e-6:
            return None
        return (self.broken - self.clean) / (self.live - self.clean)


def replay(reference: Reference, predict: Callable[[pd.DataFrame], Any]) -> Replay | None:
    """Return golden rows predicted by `predict` against the stored predictions; None where nothing can be compared."""
    stored = reference.predictions
    if not len(stored) or len(stored) != len(reference.rows):
        return None
    known = reference.golden_probabilities
    table = None if known is None else predicted_table(predict, reference.rows, known.shape[1])
    if known is not None and table is not None:
        return _replayed_table(reference, known, table)
    answer = golden.scores(predict, reference.rows, reference.classes)
    pair = comparable(reference, stored, answer, reference.rows)
    if pair is None:
        return None
    stored, answer = pair
    found = apart(stored, answer, SAME)
    equal = int(np.sum(~found.differs))
    kind, shift = "", None
    if len(stored) - equal > FLIP_SHARE * len(stored):
        kind, shift = relation(stored, answer)
    return Replay(equal, len(stored), found.largest, kind, log_odds=shift, no_numbers=found.no_numbers)


def _replayed_table(reference: Reference, known: Floats, table: Floats) -> Replay:
    found = paired_tables(reference, table, known, "golden")
    distance = np.abs(table - known).max(axis=1)
    is_number = np.isfinite(distance)
    equal, largest = int(np.sum(distance <= SAME)), float(distance[is_number].max(initial=0.0))
    kind, classes = ("", {}) if found is None else (found.kind, found.transformation.get("map", {}))
    return Replay(equal, len(known), largest, kind, classes=classes, no_numbers=int((~is_number).sum()))


def replay_of(report: GateReport) -> Replay | None:
    """Return what a check of a replica says of golden rows; None where it compared none."""
    if not report.rows or report.outcome is Outcome.SKIPPED:
        return None
    failed = next(
        (found for found in report.rungs if found.outcome is Outcome.FAILED and found.rung in _REPLAYED), None
    )
    if failed is None:
        compared = any(found.rung is Rung.PREDICTION and found.outcome is Outcome.PASSED for found in report.rungs)
        return Replay(report.rows, report.rows, 0.0) if compared else None
    where = failed.difference or Difference()
    # At least one row differs, or the rung would not have failed.
    differing = max(1, round((where.share or 1.0) * report.rows))
    kind = "prediction_differs" if failed.rung is Rung.PREDICTION else "step_differs"
    step = {Rung.WIRE: f"wire/{where.encoding}", Rung.STEPS: where.step}.get(failed.rung, "")
    return Replay(
        report.rows - differing,
        report.rows,
        where.largest,
        kind,
        step,
        where.column,
        where.encoding if failed.rung is Rung.WIRE else "",
        where.expected,
        where.got,
    )


def replay_finding(replayed: Replay, rows: int) -> Finding:
    """Return what a replay that is not equal says; `rows` is the number of live rows, all of which are affected."""
    parameters: dict[str, Any] = {"largest": replayed.largest} if replayed.largest > 0 else {}
    if replayed.no_numbers:
        parameters["no_numbers"] = replayed.no_numbers
    if replayed.log_odds is not None:
        parameters = {"log_odds": replayed.log_odds, "rate": float(np.exp(replayed.log_odds))}
    if replayed.classes:
        parameters = {"map": dict(replayed.classes)}
    texts = [
        f"golden rows through the endpoint: {replayed.rows - replayed.equal} of {replayed.rows} predictions differ"
        if replayed.kind != "step_differs"
        else f"golden rows through the endpoint: {replayed.rows - replayed.equal} of {replayed.rows} differ"
    ]
    if replayed.step:
        parameters["step"] = replayed.step
        place = f" in column {replayed.column}" if replayed.column else ""
        seen = f": {replayed.got} where training had {replayed.expected}" if replayed.expected or replayed.got else ""
        texts.append(f"they differ first after {replayed.step}{place}{seen}")
    features = (replayed.column,) if replayed.column else ()
    share = 1 - replayed.equal / max(1, replayed.rows)
    everything = np.ones(rows, dtype=bool)
    return Finding(
        replayed.kind or "prediction_differs",
        features,
        parameters,
        share,
        100.0,
        True,
        tuple(texts),
        everything,
        gain=1e7,
        at_endpoint=True,
    )


def relation(expected: Floats, got: Floats) -> tuple[str, float | None]:
    """Return the kind of fault that answers differ by, and the constant of their log-odds where that is it.

    Only rows that differ are asked: one replica of several may be wrong. Each has to be one minus what it should be, or
    off by the same odds. Labels say that of single rows whatever the fault is, so of labels all rows have to tell.
    """
    if _are_exchanged(expected, got):
        return "class_order", None
    differs = ~(np.abs(got - expected) <= SAME * np.maximum(np.abs(expected), 1e-3))
    some, other = expected[differs], got[differs]
    if not len(some) or np.nanmin(expected) < 0 or np.nanmax(expected) > 1:
        return "prediction_differs", None
    turned = np.abs(other - (1 - some)) <= 1e-6
    inner = int(np.sum((some > 1e-4) & (some < 1 - 1e-4)))
    if turned.mean() > ALL_BUT and inner >= FEWEST_TELLING:
        return "class_order", None
    shift = logit_shift(some, other)
    return ("prediction_differs", None) if shift is None else ("sampling_prior", shift)


def _are_exchanged(expected: Floats, got: Floats) -> bool:
    """Whether answers are labels of which at least two stand for each other, each for one only."""
    known, place = np.unique(expected, return_inverse=True)
    if not 2 <= len(known) <= MOST_CLASSES or not np.isin(got, known).all() or not np.isfinite(expected).all():
        return False
    counts = np.zeros((len(known), len(known)))
    np.add.at(counts, (place, np.searchsorted(known, got)), 1)
    target = counts.argmax(axis=1)
    moved = target != np.arange(len(known))
    is_whole = counts.max(axis=1).sum() > ALL_BUT * len(got)
    return bool(is_whole and moved.sum() >= 2 and len(set(target)) == len(known))


def logit_shift(expected: Floats, got: Floats) -> float | None:
    """Return the constant by which log-odds differ, when they do by a constant (sampling of a class, not undone)."""
    inside = (expected > 1e-4) & (expected < 1 - 1e-4) & (got > 1e-6) & (got < 1 - 1e-6)
    if inside.sum() < FEWEST_TELLING or expected.min() < 0 or expected.max() > 1:
        return None
    shift = np.log(got[inside] / (1 - got[inside])) - np.log(expected[inside] / (1 - expected[inside]))
    middle = float(np.median(shift))
    spread = np.abs(shift - middle)
    # Of a few rows each has to agree.
    wide = float(np.median(spread)) if inside.sum() >= MANY_TELLING else float(spread.max())
    is_varied = float(np.ptp(expected[inside])) > LEAST_RANGE
    return middle if abs(middle) > 0.05 and wide < 0.02 * max(1.0, abs(middle)) and is_varied else None


def repair(
    reference: Reference,
    sent: Live,
    undone: Live,
    predict: Callable[[pd.DataFrame], Any],
    refused: Mask | None = None,
    answered: Floats | None = None,
) -> Repair | None:
    """Return how far predictions are from training's, before and after undoing; None where none can be compared.

    Rows that were `refused` are left out where undoing changes nothing of them: they would be refused again, and the
    others with them. `answered` are the predictions that the rows got. Raises what the model raises for the rows:
    models refuse what they were not fitted on (nulls, unseen levels).
    """
    score = reference.score
    if score is None or score.numbers is None:
        return None
    if refused is not None and refused.any():
        asked = ~refused | _changed(sent, undone)
        sent, undone, answered = sent.taken(asked), undone.taken(asked), None
    answers = as_stored(reference, predict, (sent.frame(), undone.frame())) if sent.rows else None
    if answers is None:
        return None
    before, after = answers
    is_like = (
        answered is not None and answered.shape == before.shape and not differ_in_form(reference, before, answered)
    )
    return Repair(
        ks_distance(score.numbers, before),
        ks_distance(score.numbers, after),
        ks_bound(score.numbers, sent.rows),
        ks_distance(score.numbers, answered) if answered is not None and is_like else None,
    )


def _changed(sent: Live, undone: Live) -> Mask:
    """Return which rows have another value in some column."""
    found = np.zeros(sent.rows, dtype=bool)
    for one, other in zip(sent.values, undone.values, strict=True):
        found |= np.asarray(one != other, dtype=bool) & ~(np.asarray(pd.isna(one)) & np.asarray(pd.isna(other)))
    return found


def transplant(
    reference: Reference,
    findings: list[Finding],
    predict: Callable[[pd.DataFrame], Any],
    live_labels: Floats | None,
    live_scores: Floats | None,
) -> Transplant | None:
    """Return what the fault does to the metric on golden rows with labels; None without labels or a forward map.

    Raises what the model raises for the rows with the fault.
    """
    rows, labels = reference.rows, reference.labels
    if len(labels) != len(rows) or not len(rows) or any(finding.forward is None for finding in findings):
        return None
    broken = _with_faults(rows, findings)
    if broken is None:
        return None
    clean_scores, broken_scores = (golden.scores(predict, each, reference.classes) for each in (rows, broken))
    classes = len(reference.classes)
    known = np.isfinite(labels)
    name, clean = golden.metric(labels[known], clean_scores[known], classes)
    if not name or (name == "rmse" and reference.label_shares):
        # One number of several for each row, such as a class's probability: its error against codes of classes is none.
        return None
    live = None
    if live_labels is not None and live_scores is not None and len(np.unique(live_labels)) > 1:
        live_name, value = golden.metric(live_labels, live_scores, classes)
        # Answers in another form than training's have another metric.
        live = value if live_name == name else None
    return Transplant(name, clean, golden.metric(labels[known], broken_scores[known], classes)[1], live)


def _with_faults(rows: pd.DataFrame, findings: list[Finding]) -> pd.DataFrame | None:
    """Return the rows with the faults put in; None where one cannot be put into such values."""
    broken = rows.copy()
    try:
        for finding in findings:
            assert finding.forward is not None
            for name, values in finding.forward({str(name): broken[name].to_numpy() for name in broken}).items():
                # A model with a signature refuses whole numbers that come as floats.
                broken[name] = in_dtype(_mixed(rows[name], values, finding.share), str(rows[name].dtype))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return broken


def _mixed(column: pd.Series[Any], values: Any, share: float) -> pd.Series[Any]:
    """Return the column with the fault in a share of rows, by a fixed draw."""
    new = pd.Series(np.asarray(values), index=column.index)
    if share >= 1.0:
        return new
    picked = np.random.default_rng(0).random(len(column)) < share
    return new.where(picked, column.astype(new.dtype if new.dtype != object else object))
