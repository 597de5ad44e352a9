"""From live rows to one verdict: read, screen, propose, undo, look again, prove, say.

Order is what keeps it honest. Faults of form are undone first; then the strongest proposal is undone and everything is
looked at again, so that side effects of one cause are not told as causes of their own; only what remains is called a
change of the population.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity import golden
from tallystick.parity.answer_form import comparable
from tallystick.parity.asking import Asking
from tallystick.parity.columns import Floats, Mask, plain_objects
from tallystick.parity.conclude import FEWEST_ROWS, Context, Inquiry, conclude
from tallystick.parity.detect.absent import told_as_absent
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.prediction import paired_difference, unpaired_difference
from tallystick.parity.endpoint import (
    Environment,
    Routing,
    environment_differs,
    read_environment,
    read_identity,
    wrong_version,
)
from tallystick.parity.given import Beside, read_given
from tallystick.parity.hiding import without_hidden
from tallystick.parity.history import Asked, History, asked_of, unread
from tallystick.parity.intervene import Repair, Replay, Transplant, repair, replay, replay_finding, transplant
from tallystick.parity.joint import one_thread
from tallystick.parity.kinds import Family
from tallystick.parity.live import Live
from tallystick.parity.locate import affected_rows, inquire_segments, one_segment
from tallystick.parity.outputs import paired_tables, predicted_table, unpaired_tables
from tallystick.parity.profile import Ints
from tallystick.parity.retries import kept_rows
from tallystick.parity.segments import blame, onset, segment_frame
from tallystick.parity.verdict import Verdict, family_of
from tallystick.printable import printable

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

Rescore = Callable[[pd.DataFrame], Any]


@dataclass(frozen=True)
class Examination:
    """A verdict with the rows that it rests on: as they were sent, and with all that was found undone.

    Both frames hold the rows that were judged, in the same order: the newest ones, each once, and where a fault was
    found in one segment only, that segment's. `undone_frame` has training's names and order of columns. `judged` are
    the positions of these rows in the live frame, `affected` those of them that the cause touches.
    """

    verdict: Verdict
    sent_frame: pd.DataFrame
    judged: Ints
    affected: Ints
    undone: Live

    @cached_property
    def undone_frame(self) -> pd.DataFrame:
        """The rows with all that was found undone; made when it is asked for, as a diagnosis does without it."""
        return self.undone.frame()


def diagnose(
    reference: Reference,
    live: Any,
    labels: Any = None,
    segments: Any = None,
    timestamps: Any = None,
    predictions: Any = None,
    rescore: Rescore | None = None,
    *,
    environment: Mapping[str, Sequence[str]] | Environment | None = None,
    identity: Mapping[str, Sequence[str]] | None = None,
    replayed: Replay | None = None,
    keys: Any = None,
    history: History | None = None,
) -> Verdict:
    """Return why live rows give odd predictions, or that they do not, or that it cannot be told.

    `live` is a DataFrame, an array in training's order of columns, or has `to_pandas`. `labels` are outcomes of its
    rows; `segments` a column or frame that says who sent each; `timestamps` when; `predictions` what the endpoint
    answered. Each of these has an entry a row, or is the name of a column of `live`. `rescore` predicts rows through
    the endpoint (golden rows are sent through it). The reference's own model, where there is one, is the offline truth.

    What only the endpoint knows may be given too: `environment`, where serving differs, as key -> (training, serving)
    with the keys of a golden file; `identity`, replica -> (digest asked for, digest served), without which routing is
    neither convicted nor cleared; `replayed`, golden rows that were sent already (else they are sent by `rescore`).

    `keys` say whom each row is about: the name of a column of `live`, an entry for each row, or a frame of columns. A
    column that is named as the key need not be training's. With `timestamps` too, a column that lags behind its key is
    found; with `history`, the source of the features, rows are compared with what it had for their keys at each lag.
    Keys are matched and forgotten: no verdict holds them.

    Values of columns that the reference keeps to itself (`hashed`, `bucketed`, `none`) are `(hidden)` in the verdict.

    Raises InvalidParameter when one has another length than `live`, or another form. Takes tens of milliseconds for a
    thousand rows of ten columns.
    """
    return examine(
        reference,
        live,
        labels,
        segments,
        timestamps,
        predictions,
        rescore,
        environment=environment,
        identity=identity,
        replayed=replayed,
        keys=keys,
        history=history,
    ).verdict


@one_thread()
@np.errstate(all="ignore")
def examine(
    reference: Reference,
    live: Any,
    labels: Any = None,
    segments: Any = None,
    timestamps: Any = None,
    predictions: Any = None,
    rescore: Rescore | None = None,
    *,
    environment: Mapping[str, Sequence[str]] | Environment | None = None,
    identity: Mapping[str, Sequence[str]] | None = None,
    replayed: Replay | None = None,
    keys: Any = None,
    history: History | None = None,
    refused: Mask | None = None,
) -> Examination:
    """Return the verdict as `diagnose` does, of the same arguments, with the rows that it rests on.

    Of the rows that were `refused`, only those that undoing changes are predicted. A number at the end of what floats
    can hold overflows in sums and squares, which speaks for nothing then; nothing is printed of that.
    """
    started = time.perf_counter()
    given, beside = read_given(reference.names, live, Beside(labels, segments, timestamps, predictions))
    surroundings, routing = read_environment(environment), read_identity(identity)
    given = plain_objects(given.reset_index(drop=True))
    frame, asked = _with_keys(reference, given, keys, beside.timestamps, history)
    limits = _untimed(beside.timestamps, asked)
    kept = kept_rows(reference, frame, asked.keys)
    asked, rows = asked.taken(kept), frame.iloc[kept].reset_index(drop=True)
    senders = segment_frame(_taken(beside.segments, kept), len(kept))
    inquiry, whose = inquire_segments(reference, rows, asked, senders)
    findings = told_as_absent(reference, inquiry.findings)
    inquiry = replace(inquiry, findings=findings, senders=None if whose else senders)
    asking = Asking()
    if replayed is None and rescore is not None:
        replayed = asking.of("golden rows were not replayed", partial(replay, reference, rescore))
        # What cannot answer for golden rows is not asked about others.
        rescore = None if asking.refused else rescore
    judged = kept if not whose or senders is None else kept[(senders[whose["column"]] == whose["value"]).to_numpy()]
    answered, outcomes = _taken(beside.predictions, judged), _taken(beside.labels, judged)
    inquiry, equal = _with_predictions(reference, inquiry, answered, replayed, None if whose else senders, asking)
    if equal is None and rescore is not None and replayed is not None and replayed.is_equal:
        equal = _scores_again(reference, inquiry, answered, rescore, asking)
    inquiry = _with_endpoint(inquiry, surroundings, routing, replayed)
    affected = affected_rows(inquiry)
    first_seen, is_step = onset(_taken(beside.timestamps, judged), affected)
    repaired, moved = _interventions(reference, inquiry, outcomes, answered, rescore, asking, _taken(refused, judged))
    context = Context(
        segment=whose or _whose(reference, senders, inquiry, affected),
        all_rows=len(kept) if whose else 0,
        first_seen=first_seen,
        is_step=is_step,
        replayed=replayed,
        repaired=repaired,
        transplanted=moved,
        labels=outcomes,
        scores=_as_numbers(reference, answered),
        rescored_equal=equal,
        environment=surroundings,
        routing=routing,
    )
    verdict = conclude(reference, inquiry, context)
    seconds, limits = round(time.perf_counter() - started, 3), (*verdict.degraded, *limits, *asking.refused)
    verdict = msgspec.structs.replace(without_hidden(verdict, reference), seconds=seconds, degraded=limits)
    sent = frame.iloc[judged].reset_index(drop=True)
    return Examination(verdict, sent, judged, judged[affected], inquiry.undone.bare())


def _with_keys(
    reference: Reference, frame: pd.DataFrame, keys: Any, timestamps: Any, history: History | None
) -> tuple[pd.DataFrame, Asked]:
    """Return the rows without columns that are keys only, and whom and when they were asked for."""
    if isinstance(keys, str):
        if keys not in frame.columns:
            raise InvalidParameter(f"keys: the live rows have no column {keys!r}")
        keys = frame[keys]
    names = list(keys.columns) if isinstance(keys, pd.DataFrame) else [getattr(keys, "name", None)]
    extra = [name for name in names if name in frame.columns and str(name) not in reference.names]
    return frame.drop(columns=extra), asked_of(len(frame), keys, timestamps, history)


def _untimed(timestamps: Any, asked: Asked) -> tuple[str, ...]:
    """Return what is not known because some of the timestamps are no times."""
    odd = [] if asked.times is None else unread(timestamps, asked.times)
    if not odd:
        return ()
    shown = printable(repr(odd[0]))[:40]
    return (
        f"{len(odd)} of {len(timestamps)} timestamps are no times, such as {shown}: when these rows came is not known",
    )


def _taken(values: Any, kept: Ints) -> Any:
    if values is None:
        return None
    if isinstance(values, pd.DataFrame | pd.Series):
        return values.iloc[kept].reset_index(drop=True)
    return np.asarray(values)[kept]


def _whose(reference: Reference, given: pd.DataFrame | None, inquiry: Inquiry, affected: Mask) -> dict[str, Any]:
    if given is None or not inquiry.findings or len(affected) != len(given):
        return {}
    return blame(given, affected) or one_segment(reference, given, inquiry)


def _with_predictions(
    reference: Reference,
    inquiry: Inquiry,
    predictions: Any,
    replayed: Replay | None,
    segments: pd.DataFrame | None,
    asking: Asking,
) -> tuple[Inquiry, bool | None]:
    """Return the inquiry with what predictions show put first, and whether live rows score the same again."""
    found: Finding | None = None
    equal: bool | None = None
    if replayed is not None and replayed.rows and not replayed.is_equal:
        found = replay_finding(replayed, inquiry.sent.rows)
    elif predictions is not None and len(predictions) == inquiry.sent.rows and _are_tables(reference, predictions):
        found, equal = _with_tables(reference, inquiry, predictions, asking)
    elif predictions is not None and len(predictions) == inquiry.sent.rows:
        answered = reference.numbers_of(predictions)
        rescored = _predicted(reference, inquiry.sent, asking)
        pair = None if rescored is None else comparable(reference, rescored, answered, inquiry.sent.frame())
        told = ~_read_otherwise(inquiry)
        if pair is not None and told.any():
            beside = None if segments is None else segments[told].reset_index(drop=True)
            found = _of_all(paired_difference(pair[1][told], pair[0][told], "live", beside), told)
            equal = found is None
        elif rescored is None and not inquiry.findings:
            quiet = not any(part.is_flagged for part in inquiry.first)
            found = unpaired_difference(inquiry.sent, answered, quiet)
    if found is None:
        return inquiry, equal
    return replace(inquiry, findings=(found, *inquiry.findings)), equal


def _read_otherwise(inquiry: Inquiry) -> Mask:
    """Return the rows that are not predicted again as they were sent: other answers to them accuse no endpoint.

    Levels in another spelling, numbers as text and the like are read as what they are.
    """
    found = np.zeros(inquiry.sent.rows, dtype=bool)
    for each in inquiry.findings:
        if family_of(each.kind) is Family.SCHEMA and each.kind != "extra_column":
            found |= each.rows
    return found


def _of_all(found: Finding | None, told: Mask) -> Finding | None:
    """Return a finding in some rows as one in all of them."""
    if found is None or told.all():
        return found
    rows = np.zeros(len(told), dtype=bool)
    rows[told] = found.rows
    return replace(found, rows=rows, share=float(rows.mean()))


def _are_tables(reference: Reference, predictions: Any) -> bool:
    known = reference.golden_probabilities
    return known is not None and golden.table_of(predictions, known.shape[1]) is not None


def _with_tables(
    reference: Reference, inquiry: Inquiry, predictions: Any, asking: Asking
) -> tuple[Finding | None, bool | None]:
    """Return what probabilities of three classes or more show, and whether live rows get the same again."""
    given = golden.table_of(predictions)
    assert given is not None
    rescored = _predicted(reference, inquiry.sent, asking, given.shape[1])
    told = ~_read_otherwise(inquiry)
    if rescored is not None and not told.any():
        return None, None
    if rescored is not None:
        found = _of_all(paired_tables(reference, given[told], rescored[told], "live"), told)
        return found, found is None
    return (None if inquiry.findings else unpaired_tables(inquiry.sent, given)), None


def _with_endpoint(
    inquiry: Inquiry, environment: Environment | None, routing: Routing | None, replayed: Replay | None
) -> Inquiry:
    """Return the inquiry with the earlier rungs first: a wrong artifact, then an environment that changes answers."""
    findings = inquiry.findings
    first = findings[0] if findings and findings[0].at_endpoint else None
    convicted = environment_differs(environment, replayed, first)
    if convicted is not None:
        findings = (convicted, *findings[1:])
    wrong = wrong_version(routing, inquiry.sent.rows)
    if wrong is not None:
        # Another artifact gives other predictions: that they differ is not a second cause.
        findings = (wrong, *(found for found in findings if not found.at_endpoint))
    return replace(inquiry, findings=findings)


def _scores_again(
    reference: Reference, inquiry: Inquiry, answered: Any, rescore: Rescore, asking: Asking
) -> bool | None:
    """Return True when the endpoint gives the rows the same predictions again; None when that says nothing.

    Rows are as read, not as sent, so another prediction may come of that.
    """
    if answered is None or len(answered) != inquiry.sent.rows:
        return None

    def compare() -> Finding | None:
        again = reference.numbers_of(rescore(inquiry.sent.frame()))
        return paired_difference(reference.numbers_of(answered), again, "live")

    before = len(asking.refused)
    found = asking.of("live rows were not scored again", compare)
    return True if found is None and len(asking.refused) == before else None


def _predicted(reference: Reference, live: Live, asking: Asking, classes: int = 0) -> Any:
    """Return what the model at hand answers to rows; a table of so many `classes`, where asked for."""
    if reference.model is None:
        return None
    # Rows as they were sent are often what a model refuses.
    return asking.of(
        "predictions were not compared with the model's own",
        lambda: predicted_table(reference.model, live.frame(), classes) if classes else reference.predict(live.frame()),
    )


def _interventions(
    reference: Reference,
    inquiry: Inquiry,
    labels: Any,
    predictions: Any,
    rescore: Rescore | None,
    asking: Asking,
    refused: Mask | None,
) -> tuple[Repair | None, Transplant | None]:
    predict = rescore if rescore is not None else reference.model
    if predict is None or not inquiry.findings or not inquiry.findings[0].features:
        return None, None
    if inquiry.findings[0].at_endpoint:
        return None, None
    main = inquiry.of_one_cause
    outcomes, scores = _labelled(reference, labels, predictions)
    answered = _as_numbers(reference, predictions)
    return (
        asking.of(
            "what undoing the cause does to predictions is not known",
            lambda: repair(reference, inquiry.sent, inquiry.undone, predict, refused, answered),
        ),
        asking.of(
            "what the cause does to the metric is not known",
            lambda: transplant(reference, main, predict, outcomes, scores),
        ),
    )


def _as_numbers(reference: Reference, answered: Any) -> Floats | None:
    if answered is None:
        return None
    numbers = reference.numbers_of(answered)
    return numbers if np.isfinite(numbers).all() else None


def _labelled(reference: Reference, labels: Any, predictions: Any) -> tuple[Any, Any]:
    """Return labels and predictions of the rows that have a label, as numbers: labels come late, and not for all."""
    if labels is None:
        return None, None
    known = ~pd.isna(np.asarray(labels, dtype=object))
    if known.sum() < FEWEST_ROWS:
        return None, None
    outcomes = reference.numbers_of(pd.Series(np.asarray(labels)[known]).infer_objects().to_numpy())
    return outcomes, None if predictions is None else reference.numbers_of(np.asarray(predictions)[known])
