"""From live rows to a verdict that a person can act on: identity first, then replay, then the rows themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.gate.report import GateReport
from tallystick.monitor.examples import Example, examples_of, short_time
from tallystick.monitor.judge import judge
from tallystick.monitor.labels import labels_as_trained
from tallystick.monitor.ledger import verdict_of_ledger, with_ledger
from tallystick.monitor.refusals import beside, with_refusals
from tallystick.monitor.replays import (
    NO_SERVER,
    CannotReplay,
    Checked,
    Replicas,
    as_replay,
    failed_replay,
    not_reached,
    ruled_out,
    still_open,
    wrong_version,
)
from tallystick.monitor.rows import LiveRows, Senders
from tallystick.monitor.sent import Sent, as_decoded
from tallystick.parity.columns import with_columns
from tallystick.parity.conclude import FEWEST_ROWS
from tallystick.parity.diagnose import Examination, examine
from tallystick.parity.golden import scores
from tallystick.parity.hiding import without_hidden
from tallystick.parity.intervene import relation
from tallystick.parity.kinds import Status
from tallystick.parity.reference import Reference
from tallystick.parity.verdict import Verdict
from tallystick.printable import listed_names

#: Causes of different senders that are told apart in one diagnosis.
MOST_CAUSES = 5
#: What says that nothing is broken; too few rows say nothing.
_CLEAN = (Status.CONSISTENT, Status.POPULATION_CHANGED)
#: The last question about other rows than training's, that are whole.
_IS_IT_GOOD = "labels of some of these rows ('tallystick feedback'): is the model as good on them as in training?"


@dataclass(frozen=True)
class Place:
    """What is diagnosed: for texts, and to compare replicas with."""

    endpoint: str
    served_entity: str
    digest: str = ""
    model_version: str = ""


@dataclass(frozen=True)
class Explained:
    """A verdict with examples; `examined` is what it was reached by, where rows were looked at."""

    verdict: Verdict
    examples: tuple[Example, ...] = ()
    examined: Examination | None = field(default=None, repr=False)
    #: What was answered to the judged rows, where it can be compared, and what replicas said, by their number.
    predictions: Any = field(default=None, repr=False)
    replays: Mapping[str, GateReport] = field(default_factory=dict, repr=False)
    #: Whether the rows were looked at, and nothing is broken in them but what the verdict says.
    is_else_clean: bool = False
    #: When the first of the affected rows came; None where no single rows are.
    first_at: datetime | None = None
    #: When the last of them came, and whether the newest rows of all are without the cause.
    last_at: datetime | None = None
    is_past: bool = False


@dataclass(frozen=True)
class Looked:
    """All that one look at the rows of a served entity came to: one verdict a sender; the first is always there."""

    found: tuple[Explained, ...]
    #: Whether the rows that no cause found here explains were judged, and nothing is broken in them.
    is_clean: bool
    #: Who sent the rows that were looked at, and when.
    who: Senders = field(repr=False)
    #: Columns that were not compared.
    withheld: tuple[str, ...] = ()
    #: Senders whose newest rows were looked at by themselves.
    alone: frozenset[tuple[str, str]] = frozenset()
    #: What replicas said.
    checked: Checked = field(default_factory=Checked, repr=False)

    def senders(self, since: datetime | None = None) -> dict[tuple[str, str], int]:
        """Return (column, value) of a segment -> its rows that came since then."""
        is_new = slice(None) if since is None else (pd.to_datetime(self.who.times, utc=True) > since).to_numpy()
        segments = self.who.segments[is_new]
        return {
            (str(column), str(value)): int(count)
            for column in segments.columns
            for value, count in segments[column].astype(str).value_counts().items()
        }


def explain_each(
    reference: Reference, given: LiveRows | Sent, place: Place, replicas: Replicas | None, notes: Sequence[str] = ()
) -> Looked:
    """Return why live rows give odd predictions: one verdict a sender, as senders have causes of their own.

    Where a cause is one sender's, the rows of the others are judged again without his. `notes` are limits to declare.
    Blocks for seconds with `replicas`.
    """
    rest = given if isinstance(given, Sent) else as_decoded(given)
    who = Senders(rest.rows.segments, rest.rows.times)
    checked = Checked(problem=NO_SERVER) if replicas is None else replicas.check()
    last = _explain(reference, rest, place, replicas, notes, checked)
    found, whole = [last], len(rest)
    while is_claim(last.verdict) and len(found) < MOST_CAUSES:
        others = _others(rest, last.verdict)
        if others is None or others.sum() < FEWEST_ROWS:
            break
        notes = (*notes, _left_out(len(rest) - int(others.sum()), last.verdict))
        rest = rest.taken(others)
        last = _of_all(_explain(reference, rest, place, replicas, notes, checked), len(rest) / whole)
        found += [last] if is_claim(last.verdict) else []
    if is_claim(found[0].verdict) or found[0].verdict.status is Status.POPULATION_CHANGED:
        segments = [each.verdict.segment for each in found]
        blamed = {str(each["value"]) for each in segments if each.get("column") == "client"}
        found[0] = replace(found[0], verdict=beside(found[0].verdict, rest.refusals, blamed))
    return Looked(tuple(found), _leaves_clean(rest, last), who, rest.withheld, checked=checked)


def explain_more(
    reference: Reference, sent: Sent, place: Place, replicas: Replicas | None, notes: Sequence[str], looked: Looked
) -> Explained:
    """Return why other rows than those `looked` at give odd predictions; replicas are not checked again."""
    return _explain(reference, sent, place, replicas, notes, looked.checked)


def is_claim(verdict: Verdict) -> bool:
    """Whether a verdict names a cause."""
    return verdict.status in (Status.CAUSE_FOUND, Status.SUSPECTED)


def _others(rows: Sent, verdict: Verdict) -> Any:
    """Return which rows come from others than the sender that a verdict blames; None where it blames no sender."""
    column = str(verdict.segment.get("column", ""))
    if column not in rows.rows.segments.columns:
        return None
    return (rows.rows.segments[column].astype(str) != str(verdict.segment["value"])).to_numpy()


def _left_out(rows: int, verdict: Verdict) -> str:
    whose = f"{verdict.segment['column']} {verdict.segment['value']}"
    return f"judged without the {rows} row{'' if rows == 1 else 's'} of {whose}, where {verdict.kind} was found"


def _of_all(explained: Explained, part: float) -> Explained:
    """Return a verdict on a part of the rows, with the sender's share of all of them."""
    segment = explained.verdict.segment
    if "share_of_rows" not in segment:
        return explained
    segment = dict(segment) | {"share_of_rows": float(segment["share_of_rows"]) * part}
    return replace(explained, verdict=msgspec.structs.replace(explained.verdict, segment=segment))


def _leaves_clean(rows: Sent, last: Explained) -> bool:
    """Whether nothing is broken in the rows that the last verdict was about, but for what it found."""
    others = _others(rows, last.verdict) if is_claim(last.verdict) else None
    # Rows of others that are too few to be judged may hold anything.
    return last.is_else_clean if others is None else not others.any()


def _explain(
    reference: Reference,
    sent: Sent,
    place: Place,
    replicas: Replicas | None,
    notes: Sequence[str],
    checked: Checked,
) -> Explained:
    rows = sent.rows
    limits = [*notes, *sent.notes]
    if sent.withheld:
        limits.append(f"not compared, as they are not recorded as they were sent: {listed_names(sent.withheld, 20)}")
    if checked.problem:
        limits.append(f"replicas were not asked which model they hold, nor to replay golden rows: {checked.problem}")
    limits += not_reached(checked)
    convicted = wrong_version(checked, place.digest, place.model_version)
    if convicted is None and replicas is not None:
        convicted = failed_replay(checked, lambda: _how_answers_differ(reference, replicas))
    if convicted is not None:
        finished = _finished(convicted, reference, place, limits, ruled_out(checked, place.digest), len(rows))
        return Explained(finished, replays=checked.reports)
    examined = _examined(reference, sent, replicas, checked, limits)
    verdict = examined.verdict
    told = verdict_of_ledger(rows, int((~sent.is_refused).sum()), reference.names)
    cleared = ruled_out(checked, place.digest)
    if told is not None and not is_claim(verdict):
        is_clean = verdict.status in _CLEAN
        return Explained(_finished(told, reference, place, limits, cleared, len(rows)), is_else_clean=is_clean)
    if told is not None:
        verdict = with_ledger(verdict, told)
    finished = _finished(verdict, reference, place, limits, cleared, verdict.rows)
    if finished.status is Status.POPULATION_CHANGED and rows.labels is None:
        finished = msgspec.structs.replace(finished, settle=(*finished.settle, _IS_IT_GOOD))
    finished = with_refusals(finished, sent.refusals)
    answered = None if rows.predictions is None else rows.predictions[examined.judged]
    is_numeric = answered is not None and answered.dtype.kind in "biuf"
    return Explained(
        finished,
        examples_of(reference, rows, examined) if is_claim(verdict) else (),
        examined,
        answered if is_numeric else None,
        checked.reports,
        # What else is broken in the rows was found with the cause, and is told.
        len(rows) >= FEWEST_ROWS if is_claim(verdict) else verdict.status in _CLEAN,
        *span_of_affected(rows, examined),
    )


def span_of_affected(rows: LiveRows, examined: Examination) -> tuple[datetime | None, datetime | None]:
    """Return when the first and the last of the affected rows came."""
    if not len(examined.affected):
        return None, None
    times = pd.to_datetime(rows.times.iloc[examined.affected], utc=True)
    return times.min().to_pydatetime(), times.max().to_pydatetime()


def look_again(reference: Reference, sent: Sent) -> Examination:
    """Return what rows show by themselves: no replica is asked."""
    return judge(reference, sent, lambda known, rows: _looked(known, rows, Checked(), [], None))


def _examined(
    reference: Reference, sent: Sent, replicas: Replicas | None, checked: Checked, limits: list[str]
) -> Examination:
    may_ask = replicas is not None and not checked.problem and not sent.withheld

    def look(known: Reference, rows: LiveRows) -> Examination:
        told: list[str] = []

        def rescored(frame: pd.DataFrame) -> Any:
            assert replicas is not None
            try:
                return replicas.predict(cast_to_training(reference, frame))
            except CannotReplay as error:
                # The diagnosis does without, and cannot say which replica it was.
                told.append(f"rows could not be predicted again by a replica: {error}")
                raise

        found = _looked(known, rows, checked, limits, rescored if may_ask else None)
        # Only a limit where this look is the one that counts.
        degraded = (*found.verdict.degraded, *told)
        return replace(found, verdict=msgspec.structs.replace(found.verdict, degraded=degraded))

    return judge(reference, sent, look)


def _looked(reference: Reference, rows: LiveRows, checked: Checked, limits: list[str], rescore: Any) -> Examination:
    labels = labels_as_trained(rows.labels, reference.label_shares, reference.classes)
    if labels is None and rows.labels is not None:
        limits.append(
            f"labels were not compared: none is one of training's classes ({', '.join(reference.classes[:5])})"
        )
    given: dict[str, Any] = {
        "labels": labels,
        "segments": rows.segments if len(rows) and len(rows.segments.columns) else None,
        "timestamps": rows.times if len(rows) else None,
        "predictions": rows.predictions,
        "replayed": as_replay(checked),
        "refused": rows.refused if len(rows) else None,
        "keys": rows.keys if len(rows) else None,
        "history": rows.history if len(rows) and rows.keys is not None else None,
    }
    try:
        return examine(reference, rows.frame, rescore=rescore, **given)
    except (TypeError, ValueError):
        # Answers that are no numbers (structs, lists of lists) are not compared.
        limits.append("predictions were not compared: they are no single numbers or classes")
        return examine(reference, rows.frame, **(given | {"predictions": None, "labels": None}))


def cast_to_training(reference: Reference, frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of training's columns as an endpoint takes them: what is to be an integer loses its fraction there.

    Rows as they were sent may have one, and a replica would refuse them.
    """
    changed: dict[str, Any] = {}
    for profile in reference.columns:
        if profile.name not in frame or not profile.dtype.lower().startswith(("int", "uint")):
            continue
        column = frame[profile.name]
        if pd.api.types.is_float_dtype(column.dtype):
            numbers = column.astype(np.float64).to_numpy()
            whole = [None if not math.isfinite(value) else math.trunc(value) for value in numbers.tolist()]
            changed[profile.name] = pd.Series(whole, dtype=object, index=frame.index)
    return with_columns(frame, changed)


def _how_answers_differ(reference: Reference, replicas: Replicas) -> tuple[str, float | None]:
    """Return the kind of fault that a replica's answers to golden rows differ by, and the constant of their log-odds.

    Sends the golden rows once more. `prediction_differs` where they say nothing more.
    """
    stored = reference.predictions
    try:
        answered = scores(lambda frame: replicas.predict(cast_to_training(reference, frame)), reference.rows)
    except (CannotReplay, ValueError, TypeError):
        return "prediction_differs", None
    return relation(stored, answered) if len(stored) == len(answered) else ("prediction_differs", None)


def _finished(
    verdict: Verdict,
    reference: Reference,
    place: Place,
    limits: Sequence[str],
    cleared: Sequence[str],
    rows: int,
) -> Verdict:
    return msgspec.structs.replace(
        without_hidden(verdict, reference),
        rows=rows,
        first_seen=short_time(verdict.first_seen),
        ruled_out=(*cleared, *verdict.ruled_out),
        settle=still_open(verdict.settle, cleared),
        degraded=tuple(dict.fromkeys((*verdict.degraded, *reference.degraded, *limits))),
        reproduce=f"tallystick diagnose {place.endpoint} --served-entity {place.served_entity} --rows"
        if is_claim(verdict) and place.endpoint
        else "",
    )


def load_reference(folder: Any) -> Reference:
    """Return the reference in a model's folder. Raises InvalidParameter when there is none that can be read."""
    from pathlib import Path

    found = Path(folder)
    for candidate in (found, found / "parity"):
        if (candidate / "reference.msgpack").is_file():
            return Reference.load(candidate)
    raise InvalidParameter(
        f"There is no reference of training in {found}: expected a model's folder with parity/reference.msgpack. "
        "tallystick.log_model(…, X=X_train) leaves one; tallystick reference add makes one for a version that is there."
    )
