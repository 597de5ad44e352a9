"""The ladder: does this copy of a model give training's answers for the golden rows? Cheapest question first.

The first proof ends it: what comes after a failed rung is skipped, as it would repeat the same fault in other words.
Two rungs wait for a later one, as a difference counts only where it changes predictions: of the environment, and of
steps. Calls the model some forty times; knows no files, sockets or MLflow.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import TallystickError
from tallystick.gate import quality
from tallystick.gate.environment import Differing, closeness, differences
from tallystick.gate.forms import ask_forms
from tallystick.gate.golden import Golden, Step, Wire
from tallystick.gate.predictions import Answer, answer_of, judge
from tallystick.gate.report import Difference, GateReport, Outcome, Policy, Rung, RungReport
from tallystick.gate.tolerance import Closeness, Tolerance, compare, is_single, shown, tolerance_for
from tallystick.gate.wires import as_frame, frame_of, like, lost_in_transport, retyped
from tallystick.gate.wording import percent, told, told_precision
from tallystick.printable import count

#: A check should be over by then: the rungs that are left are skipped.
BUDGET_S = 10.0
#: Rows that are asked one at a time. A model that looks at its neighbours shows it on the first ones.
ALONE_ROWS = 24
_ALONE_S = 2.0
#: Sums over a row may be ordered differently in company; beyond that two answers are two answers.
_COMPANY, _SINGLE_COMPANY = 1e-9, 1e-5
_SHOWN = 5
_LEADING = frozenset({"dataframe_records", "dataframe_split"})


@dataclass(frozen=True)
class Subject:
    """A loaded model, as one replica has it."""

    #: What should be served, and what this replica finds when it reads its own files.
    wanted_digest: str
    digest: str
    #: (body, content type) -> what the model would get. Raises TallystickError for what it refuses.
    decode: Callable[[bytes, str], Any]
    #: The path that callers' rows take, acceleration included.
    predict: Callable[[Any], Any]
    #: Outputs of the model's steps for a frame.
    trace: Callable[[Any], Sequence[Step]] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Packages that the model brings in.
    used: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Checked:
    """What a check found, and whether requests may share a call of the model (None: not asked)."""

    report: GateReport
    are_rows_independent: bool | None = None
    independence: str = ""
    #: Encodings that change rows or that the model does not take, though the leading ones are carried and taken.
    lossy: tuple[str, ...] = ()


def leading(golden: Golden) -> frozenset[str]:
    """Return the encodings that have to carry golden rows: those of frames; of arrays, all that there are.

    What only another one changes (`inputs` reads a missing text as 'None') is no fault of the version: it is noted.
    """
    known = frozenset(wire.encoding for wire in golden.wires)
    return known & _LEADING or known


def check(
    golden: Golden,
    subject: Subject,
    policy: Policy = Policy.AUTO,
    *,
    rungs: Collection[Rung] = tuple(Rung),
    clock: Callable[[], float] = time.monotonic,
) -> Checked:
    """Ask the rungs; return the report. What the model raises on golden rows is a finding, not an error."""
    ladder = _Ladder(golden, subject, clock)
    ladder.climb(rungs)
    failed = any(rung.outcome is Outcome.FAILED for rung in ladder.rungs)
    report = GateReport(
        Outcome.FAILED if failed else Outcome.PASSED,
        policy,
        subject.digest,
        golden.rows,
        round(clock() - ladder.started, 3),
        tuple(ladder.rungs),
        golden.degraded,
        dict(subject.environment) if failed else {},
    )
    return Checked(report, ladder.are_rows_independent, ladder.independence, ladder.lossy)


def nothing_to_compare(policy: Policy, digest: str, wanted_digest: str, reason: str) -> GateReport:
    """Return the report on a model without golden rows: only its identity can be asked."""
    identity = _identity(digest, wanted_digest)
    outcome = Outcome.SKIPPED
    if identity.outcome is Outcome.FAILED or policy is Policy.BLOCK:
        outcome = Outcome.FAILED
    rungs = [identity]
    if policy is Policy.BLOCK and identity.outcome is not Outcome.FAILED:
        text = f"There is nothing to compare with ({reason}), and the endpoint's parity gate is set to 'block'."
        rungs.append(RungReport(Rung.PREDICTION, Outcome.FAILED, text))
    return GateReport(outcome, policy, digest, rungs=tuple(rungs), degraded=(reason,))


class _Ladder:
    def __init__(self, golden: Golden, subject: Subject, clock: Callable[[], float]) -> None:
        self.golden, self.subject, self._clock = golden, subject, clock
        self.started = clock()
        self.rungs: list[RungReport] = []
        self.are_rows_independent: bool | None = None
        self.independence = ""
        self._differing: list[Differing] = []
        self._closeness = Closeness.OTHER
        #: All golden rows, and what a decoder made of the first ones: the form in which the model gets them.
        self._frame: Any = None
        self._form: Any = None
        #: Set where the model's input has no columns: then what was decoded is asked, and nothing else can be.
        self._form_rows = 0
        self._answer: Answer | None = None
        #: Encodings that change rows or that the model does not take, though others are carried and taken.
        self.lossy: tuple[str, ...] = ()
        self._decoded: list[tuple[Wire, Any]] = []

    def climb(self, wanted: Collection[Rung]) -> None:
        for rung, ask in (
            (Rung.IDENTITY, self._ask_identity),
            (Rung.ENVIRONMENT, self._ask_environment),
            (Rung.WIRE, self._ask_wire),
            (Rung.STEPS, self._ask_predictions),
            (Rung.ROWS, self._ask_rows),
            (Rung.METRIC, self._ask_metric),
        ):
            if rung not in wanted:
                continue
            failed = next((each.rung for each in self.rungs if each.outcome is Outcome.FAILED), None)
            late = self._clock() - self.started > BUDGET_S
            if failed is not None or late:
                skipped = (Rung.STEPS, Rung.PREDICTION) if rung is Rung.STEPS else (rung,)
                why = f"{failed.value} failed" if failed is not None else f"the check took {BUDGET_S:g} s by then"
                self.rungs += [RungReport(each, Outcome.SKIPPED, f"Not asked: {why}.") for each in skipped]
                continue
            ask()

    # -- identity, environment ---------------------------------------------------------------------------------

    def _ask_identity(self) -> None:
        self.rungs.append(_identity(self.subject.digest, self.subject.wanted_digest))

    def _ask_environment(self) -> None:
        then = self.golden.environment
        if not then:
            self._note(Rung.ENVIRONMENT, Outcome.SKIPPED, "The golden rows do not say what they were made with.")
            return
        self._differing = differences(then, self.subject.environment, self.subject.used)
        self._closeness = closeness(then, self._differing)
        if not self._differing:
            self._note(Rung.ENVIRONMENT, Outcome.PASSED, "Packages, Python and processor are those of training.")
            return
        self._note(Rung.ENVIRONMENT, Outcome.NOTED, _listed(self._differing) + ".")

    # -- wire --------------------------------------------------------------------------------------------------

    def _ask_wire(self) -> None:
        golden, passed, notes = self.golden, [], []
        lossy: list[RungReport] = []
        self._frame = frame_of(golden)
        for wire in golden.wires:
            found = self._through(wire)
            if isinstance(found, RungReport):
                if wire.encoding in leading(golden):
                    self.rungs.append(found)
                    return
                self.lossy += (wire.encoding,)
                lossy.append(found)
            elif isinstance(found, str):
                notes.append(found)
            else:
                passed.append(wire.encoding)
                notes += [note for note in retyped(golden, found) if note not in notes]
        forms = ask_forms(golden, self._decoded, self.subject.predict, self._closeness)
        if forms.mistaken is not None:
            self.rungs.append(forms.mistaken)
            return
        for encoding, error in forms.refused.items():
            self.lossy += (encoding,)
            lossy.append(_not_taken(encoding, error))
        passed = [encoding for encoding in passed if encoding not in forms.refused]
        if not passed:
            why = notes[0] if notes else "the golden rows hold no request bodies"
            self._note(Rung.WIRE, Outcome.SKIPPED, f"Not asked: {why}.")
            return
        rows = max(wire.rows for wire in golden.wires)
        went = "it" if rows == 1 else "they"
        text = f"{count(rows, 'row', 'comes', 'come')} out of {', '.join(passed)} as {went} went in"
        if notes:
            text += f"; of another type: {'; '.join(notes[:_SHOWN])}"
        told_too = "".join(f" Not of {each.text}" for each in lossy)
        outcome = Outcome.NOTED if notes or lossy else Outcome.PASSED
        self.rungs.append(RungReport(Rung.WIRE, outcome, f"{text}.{told_too}", lossy[0].difference if lossy else None))

    def _through(self, wire: Wire) -> Any:
        """Return the frame that a body becomes, the failed rung, or why it could not be asked."""
        try:
            decoded = self.subject.decode(wire.body, wire.content_type)
        except TallystickError as error:
            if wire.encoding == "arrow" and "pyarrow" in error.message:
                return "arrow is not read here: pyarrow is not installed"
            text = f"{wire.encoding}: golden rows are refused: {error.message}"
            difference = Difference(wire.encoding, expected="a frame", got="refused", share=1.0)
            return RungReport(Rung.WIRE, Outcome.FAILED, text, difference)
        if self._form is None:
            self._form = decoded
        frame = as_frame(decoded, self.golden)
        if frame is None:
            if self._form is decoded:
                self._form_rows = wire.rows
            self._decoded.append((wire, decoded))
            return f"{wire.encoding} becomes {type(decoded).__name__}, which has no columns"
        lost = lost_in_transport(self.golden, wire.encoding, wire.rows, frame)
        if lost is None:
            self._decoded.append((wire, decoded))
            return frame
        return RungReport(Rung.WIRE, Outcome.FAILED, f"{wire.encoding}: {told(lost)}", lost)

    # -- steps and predictions ---------------------------------------------------------------------------------

    def _ask_predictions(self) -> None:
        predicted, steps = self._predict(), self._bisect()
        if predicted.outcome is not Outcome.FAILED:
            if steps.outcome is Outcome.FAILED:
                steps = _as(steps, Outcome.NOTED, f"{steps.text} No prediction changes by it.")
            self.rungs += [steps, predicted]
            return
        likely = [each for each in self._differing if each.is_used]
        cause = f"Likely cause: {_listed(likely)}." if likely else ""
        if steps.outcome is Outcome.FAILED:
            share = predicted.difference.share if predicted.difference is not None else 1.0
            words = (steps.text, f"{percent(share)} of the predictions change.", cause)
            steps = _as(steps, Outcome.FAILED, " ".join(filter(None, words)))
        elif cause:
            # Nothing of the model is another one, and its answers are.
            self._replace(
                RungReport(Rung.ENVIRONMENT, Outcome.FAILED, f"{cause} {predicted.text}", predicted.difference)
            )
        self.rungs += [steps, predicted]

    def _bisect(self) -> RungReport:
        stored, trace = self.golden.steps, self.subject.trace
        if not stored or trace is None or self._form_rows:
            return RungReport(Rung.STEPS, Outcome.SKIPPED, "The model has no steps that golden rows could be held to.")
        rows = stored[0].output.rows
        try:
            served = {step.path: step for step in trace(like(self._form, self._frame.iloc[:rows]))}
        except Exception as error:  # noqa: BLE001  the model's code; predictions are asked all the same
            notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
            return RungReport(Rung.STEPS, Outcome.NOTED, f"Steps cannot be traced: {type(error).__name__}{notes}.")
        for step in stored:
            found, hint = self._step_difference(step, served.get(step.path))
            if found is not None:
                return RungReport(Rung.STEPS, Outcome.FAILED, told(found) + hint, found)
        give = count(len(stored), "step", "gives what it", "give what they")
        return RungReport(Rung.STEPS, Outcome.PASSED, f"{give} gave in training.")

    def _step_difference(self, then: Step, now: Step | None) -> tuple[Difference | None, str]:
        expected, width = then.output.cells(), then.output.width
        name = then.columns[0] if then.columns else ""
        if now is None:
            got = "no such step"
            if name in self._frame.columns:
                got = f"no such step; the column as it came is {shown(_first(self._frame[name]))}"
            return Difference(step=then.path, column=name, row=0, expected=_at(expected, 0), got=got, share=1.0), ""
        if then.columns != now.columns or width != now.output.width:
            return _renamed(then, now), ""
        cells = min(len(expected), now.output.rows * width)
        tolerance = tolerance_for(self._closeness, "", expected)
        found = compare(expected[:cells], now.output.cells()[:cells], width, tolerance)
        if not found.differing:
            return None, ""
        column = then.columns[found.column] if found.column < len(then.columns) else str(found.column)
        difference = Difference(
            step=then.path,
            column=column,
            row=found.row,
            expected=found.expected,
            got=found.got,
            share=found.share,
            largest=found.largest,
        )
        return difference, told_precision(found)

    def _predict(self) -> RungReport:
        try:
            if self._form_rows:
                self._answer = answer_of(self.subject.predict(self._form))
            else:
                self._answer = self._ask(self._frame)
        except Exception as error:  # noqa: BLE001  the model's code: what it raises on golden rows is the finding
            text = f"The model raises {type(error).__name__} on golden rows."
            return RungReport(Rung.PREDICTION, Outcome.FAILED, text, Difference(got=type(error).__name__, share=1.0))
        return judge(self.golden, self._answer, self._form_rows or len(self._frame), self._closeness)

    def _ask(self, frame: Any) -> Answer:
        return answer_of(self.subject.predict(like(self._form, frame)))

    # -- rows, metric ------------------------------------------------------------------------------------------

    def _ask_rows(self) -> None:
        if self._form_rows:
            self._note(Rung.ROWS, Outcome.SKIPPED, "Rows of an input without columns cannot be asked one at a time.")
            return
        try:
            self.are_rows_independent, self.independence = self._compare_alone()
        except Exception as error:  # noqa: BLE001  the model's code; in doubt they are not
            self.are_rows_independent = False
            self.independence = f"golden rows one at a time raise {type(error).__name__}"
        outcome = Outcome.PASSED if self.are_rows_independent else Outcome.NOTED
        text = self.independence[0].upper() + self.independence[1:]
        after = "" if self.are_rows_independent else " Requests do not share a call of the model."
        self._note(Rung.ROWS, outcome, f"{text}.{after}")

    def _compare_alone(self) -> tuple[bool, str]:
        rows = len(self._frame)
        if rows < 2:
            return False, "there are fewer than two golden rows to compare"
        size = min(rows, ALONE_ROWS)
        chosen = [place * rows // size for place in range(size)]
        some = self._frame.iloc[chosen].reset_index(drop=True)
        together, again = self._ask(some), self._ask(some)
        if together.rows != size:
            return False, "the output has no row for each row of the input"
        tolerance = Tolerance(_SINGLE_COMPANY if is_single(together.cells) else _COMPANY)
        if compare(together.cells, again.cells, together.width, tolerance).differing:
            return False, "the same golden rows got different answers in two calls"
        started, width, asked = self._clock(), together.width, 0
        # Backwards, so that a model that counts calls or remembers the last row is found out too.
        for place in reversed(range(size)):
            alone = self._ask(some.iloc[place : place + 1].reset_index(drop=True))
            beside = together.cells[place * width : (place + 1) * width]
            if alone.rows != 1 or compare(beside, alone.cells, width, tolerance).differing:
                return False, f"golden row {chosen[place]} got another answer in company than alone"
            asked += 1
            if self._clock() - started > _ALONE_S:
                break
        return True, f"{count(asked, 'golden row')} got the same answers in company and alone"

    def _ask_metric(self) -> None:
        offline, golden, answer = self.golden.quality, self.golden, self._answer
        labels = array("d", golden.labels).tolist()
        is_score = answer is not None and answer.width == 1 and not (golden.predictions.texts and not golden.classes)
        if offline is None or not labels or answer is None or not is_score:
            self._note(Rung.METRIC, Outcome.SKIPPED, "The golden rows have no labels that a metric was made of.")
            return
        known = quality.measure(offline.metric, quality.coded(golden, golden.predictions.cells()), labels)
        if answer.rows != golden.rows or not quality.agrees(known, offline.value):
            self._note(Rung.METRIC, Outcome.SKIPPED, f"The offline {offline.metric} was not made of these predictions.")
            return
        live = quality.measure(offline.metric, quality.coded(golden, answer.cells), labels)
        is_inside = live is not None and offline.low <= live <= offline.high
        text = f"{offline.metric} {live:.4g}, offline {offline.value:.4g} ({offline.low:.4g} to {offline.high:.4g})."
        self._note(Rung.METRIC, Outcome.PASSED if is_inside else Outcome.FAILED, text)

    def _note(self, rung: Rung, outcome: Outcome, text: str) -> None:
        self.rungs.append(RungReport(rung, outcome, text))

    def _replace(self, report: RungReport) -> None:
        self.rungs = [report if each.rung is report.rung else each for each in self.rungs]


def _identity(digest: str, wanted: str) -> RungReport:
    if digest == wanted:
        return RungReport(Rung.IDENTITY, Outcome.PASSED, f"The files are those of {wanted[:12]}.")
    text = f"The files that were loaded are {digest[:12]}, {wanted[:12]} was asked for: they were exchanged or damaged."
    return RungReport(Rung.IDENTITY, Outcome.FAILED, text, Difference(expected=wanted, got=digest, share=1.0))


def _not_taken(encoding: str, error: str) -> RungReport:
    difference = Difference(encoding, expected="predictions", got=error, share=1.0)
    text = f"{encoding}: the model does not take rows in this form, it raises {error}"
    return RungReport(Rung.WIRE, Outcome.NOTED, text, difference)


def _renamed(then: Step, now: Step) -> Difference:
    wide = max(len(then.columns), len(now.columns))
    pairs = [
        (
            then.columns[place] if place < len(then.columns) else "",
            now.columns[place] if place < len(now.columns) else "",
        )
        for place in range(wide)
    ]
    before, after = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    expected = f"column {before}" if before else count(then.output.width, "column")
    got = f"column {after}" if after else count(now.output.width, "column")
    return Difference(step=then.path, column=before or after, expected=expected, got=got, share=1.0)


def _as(report: RungReport, outcome: Outcome, text: str) -> RungReport:
    return RungReport(report.rung, outcome, text, report.difference)


def _listed(found: Sequence[Differing]) -> str:
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(map(str, found[:_SHOWN])) + more


def _first(series: Any) -> Any:
    value = series.iloc[0]
    return value.item() if hasattr(value, "item") else value


def _at(cells: Sequence[Any], place: int) -> str:
    return shown(cells[place]) if place < len(cells) else "a value"
