"""The reference: what training looked like, small enough to travel with the model.

`Reference.from_frame` captures; `save`, `load`, `to_bytes` and `from_bytes` move it as msgpack, npz and parquet files
(never pickle). What could not be captured is listed in `degraded`, and every verdict repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity import golden, lint, privacy, storage
from tallystick.parity.columns import Floats, Role, read_numbers, read_texts, read_times
from tallystick.parity.course import Course, courses
from tallystick.parity.history import Asked, History, asked_of
from tallystick.parity.joint import Joint, Values, fit_joint
from tallystick.parity.profile import ColumnProfile, profile_column
from tallystick.parity.tables import read_rows
from tallystick.parity.timing import Timing, from_the_future, timings

#: Rows that the joint is counted from; its errors are far below those of any live sample then.
JOINT_ROWS = 10_000
#: Fewer rows of training than this are declared in every verdict.
FEW_ROWS = 200
#: Without labels, classes are those that the model gives to so many rows.
CLASS_ROWS = 2000
FORMAT = 1
#: Live rows that have to share a value, where it is not known what the reference was made with: as people ask for.
_UNKNOWN_FLOOR = 10

Predict = Callable[[pd.DataFrame], Any]


class Evaluation(msgspec.Struct, frozen=True):
    """Offline quality: `metric` is `auc`, `accuracy` or `rmse`, with a 95 % interval by bootstrap over rows."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


class Reference(msgspec.Struct, frozen=True):
    """Everything that a diagnosis compares live rows with. Holds no model; `rows` are golden rows, as sent."""

    columns: tuple[ColumnProfile, ...]
    joint: Joint
    rows: pd.DataFrame
    predictions: Floats
    labels: Floats
    scalers: tuple[golden.Scaler, ...] = ()
    evaluation: Evaluation | None = None
    score: ColumnProfile | None = None
    label_shares: dict[str, float] = msgspec.field(default_factory=dict)
    #: Classes that are texts, in the order of their codes: `predictions`, `labels` and `score` are of these.
    classes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    lint: tuple[str, ...] = ()
    label_strength: dict[str, float] = msgspec.field(default_factory=dict)
    #: Key of the digests of hidden levels: they cannot be looked up in a list of names without this file.
    hash_key: bytes = b""
    #: How old each column's values were, where keys and times were given; neither is kept.
    timing: dict[str, Timing] = msgspec.field(default_factory=dict)
    #: How columns move along training's rows, of those that do.
    course: dict[str, Course] = msgspec.field(default_factory=dict)
    #: Where it is from: run, commit, digest of the data, rows, time of capture.
    lineage: dict[str, str] = msgspec.field(default_factory=dict)
    #: Golden rows' probabilities of three classes or more, row by row; empty where answers are one number.
    probabilities: Floats = msgspec.field(default_factory=lambda: np.zeros(0))
    #: Rows that have to share a level before it is named; 0: not known, as it was not always stored.
    k_anonymity: int = 0
    #: The model itself, where it was given in this process; it is never stored.
    model: Any = None

    @classmethod
    def from_frame(
        cls,
        X: Any,
        model: Any = None,
        y: Any = None,
        eval_data: tuple[pd.DataFrame, Any] | None = None,
        privacy: str | Mapping[str, str] = "raw",
        *,
        k_anonymity: int = 1,
        predict: Predict | None = None,
        seed: int = 0,
        max_bytes: int = 1_000_000,
        keys: Any = None,
        timestamps: Any = None,
        history: History | None = None,
    ) -> Reference:
        """Return the reference of a training frame.

        X is a DataFrame, an array of numbers, or has `to_pandas` (Polars, Arrow). `model` has `predict` or
        `predict_proba`, or is a function; it is asked with rows in the form of X. Where it is served with another
        answer than that (labels instead of probabilities), `predict` gives what is served. `privacy` is `raw`,
        `hashed`, `bucketed` or `none`, for all columns or by column. Levels of fewer than `k_anonymity` rows are kept
        as keyed digests only.

        `keys` say whom each row is about (an entry for each row, or a frame of columns) and `timestamps` when it was;
        `history` is the source of the features. What is kept of them is how old each column's values were, and how
        often they change. Raises InvalidParameter when X is empty, has a column name twice, or an option is unknown.
        """
        rows = read_rows(X)
        asked = asked_of(len(rows.frame), keys, timestamps, history)
        scorer = predict or (rows.asked(model) if model is not None else None)
        return _capture(rows.frame, model, scorer, y, eval_data, privacy, k_anonymity, seed, max_bytes, asked)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in training order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> ColumnProfile:
        """Return the profile of a column; raises KeyError."""
        for profile in self.columns:
            if profile.name == name:
                return profile
        raise KeyError(name)

    def predict(self, frame: pd.DataFrame) -> Floats | None:
        """Return scores of rows by the model given at capture; None when there is none in this process."""
        return None if self.model is None else golden.scores(self.model, frame, self.classes)

    @property
    def live_floor(self) -> int:
        """Live rows that have to share a value before it is kept or shown; 1: any."""
        return self.k_anonymity or _UNKNOWN_FLOOR

    @property
    def golden_probabilities(self) -> Floats | None:
        """Probabilities of golden rows, rows x classes; None where there are none."""
        rows, given = len(self.predictions), len(self.probabilities)
        return np.asarray(self.probabilities).reshape(rows, -1) if given and rows and not given % rows else None

    def numbers_of(self, answers: Any) -> Floats:
        """Return predictions or labels, live or of training, on the scale of this reference's."""
        return golden.label_numbers(np.asarray(answers), self.classes)

    def to_bytes(self) -> bytes:
        """Return the reference as one block of bytes."""
        return storage.to_bytes(self)

    @classmethod
    def from_bytes(cls, block: bytes) -> Reference:
        """Return what `to_bytes` gave; raises InvalidParameter when it cannot be read."""
        return storage.from_bytes(cls, block)

    def save(self, folder: str | Path) -> Path:
        """Write the files into `folder`, made if missing, and return it."""
        return storage.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, model: Any = None) -> Reference:
        """Return the reference in `folder`, with `model` attached for interventions."""
        loaded = storage.load(cls, Path(folder))
        return loaded if model is None else msgspec.structs.replace(loaded, model=model)


def parse_column(profile: ColumnProfile, series: pd.Series[Any]) -> Values:
    """Return a column's values as the reference reads them: floats, seconds or texts."""
    if profile.role is Role.NUMBER:
        return read_numbers(series).values
    if profile.role is Role.TIME:
        times = read_times(series, profile.encoding)
        return np.full(len(series), np.nan) if times is None else times.seconds
    return read_texts(series)


def _capture(
    frame: pd.DataFrame,
    model: Any,
    scorer: Any,
    y: Any,
    eval_data: tuple[pd.DataFrame, Any] | None,
    options: str | Mapping[str, str],
    k_anonymity: int,
    seed: int,
    max_bytes: int,
    asked: Asked,
) -> Reference:
    privacy.check(options, tuple(frame.columns))
    _check_labels("y", y, len(frame))
    eval_data = _checked_eval(eval_data)
    random = np.random.default_rng(seed)
    coarse = {name for name in frame.columns if privacy.option_of(options, name) != "raw"}
    profiles = tuple(profile_column(frame[name], name, is_coarse=name in coarse) for name in frame.columns)
    picked = np.arange(len(frame))
    if len(frame) > JOINT_ROWS:
        picked = np.sort(random.choice(len(frame), JOINT_ROWS, replace=False))
    sample = frame.iloc[picked]
    values: list[Values] = [parse_column(profile, sample[profile.name]) for profile in profiles]
    secret = [j for j, profile in enumerate(profiles) if privacy.option_of(options, profile.name) == "none"]
    joint = fit_joint(profiles, values, frozenset(secret))
    classes = golden.class_names(y, scorer, sample.head(CLASS_ROWS))
    labels = None if y is None else golden.label_numbers(y, classes)
    chosen = golden.choose_rows(profiles, values, random, max_bytes)
    rows = sample.iloc[chosen].reset_index(drop=True)
    degraded = [text for missing, text in ((scorer is None, _NO_MODEL), (y is None, _NO_LABELS)) if missing]
    if len(frame) < FEW_ROWS:
        degraded.append(f"made from {len(frame)} rows only: what is rare in training looks like a fault in live rows")
    predictions, evaluation, score, table = np.zeros(0), None, None, None
    if scorer is not None:
        answered = golden.answer(scorer, rows)
        predictions, table = golden.label_numbers(answered, classes), golden.table_of(answered)
        evaluation, score = _evaluate(scorer, frame, labels, eval_data, random, classes)
        if evaluation is None and labels is not None:
            degraded.append(_NO_METRIC)
    timing = _timing(frame, profiles, asked)
    strength = lint.label_strength(profiles, values, None if labels is None else labels[picked])
    reference = Reference(
        columns=profiles,
        joint=joint,
        rows=rows,
        predictions=predictions,
        labels=np.zeros(0) if labels is None else labels[picked][chosen],
        scalers=golden.fitted_scalers(model, profiles) if model is not None else (),
        evaluation=evaluation,
        score=score,
        label_shares={} if y is None else golden.label_shares(y),
        classes=classes,
        degraded=tuple(degraded),
        lint=(*from_the_future(timing), *lint.findings(profiles, strength, model)),
        timing=timing,
        course=courses(profiles, values),
        label_strength=strength,
        hash_key=random.bytes(16),
        probabilities=np.zeros(0) if table is None else table.ravel(),
        model=scorer,
    )
    return privacy.redact(reference, options, k_anonymity)


def _check_labels(name: str, labels: Any, rows: int) -> None:
    if labels is None:
        return
    if not hasattr(labels, "__len__") or isinstance(labels, str):
        raise InvalidParameter(f"{name}: expected a label for each row, got {type(labels).__name__}")
    if len(labels) != rows:
        raise InvalidParameter(f"{name} has {len(labels)} entries, expected {rows}, one for each row")


def _checked_eval(eval_data: Any) -> tuple[pd.DataFrame, Any] | None:
    """Return held-out rows and labels; raises InvalidParameter when they are no pair of the same length."""
    if eval_data is None:
        return None
    if not isinstance(eval_data, tuple | list) or len(eval_data) != 2:
        raise InvalidParameter(f"eval_data: expected a pair (frame, labels), got {type(eval_data).__name__}")
    held_out = read_rows(eval_data[0], "eval_data").frame
    _check_labels("the second of eval_data", eval_data[1], len(held_out))
    return held_out, eval_data[1]


def _timing(frame: pd.DataFrame, profiles: tuple[ColumnProfile, ...], asked: Asked) -> dict[str, Timing]:
    if asked.keys is None or asked.times is None:
        return {}
    values = [parse_column(profile, frame[profile.name]) for profile in profiles]
    source: dict[str, Any] = {}
    if asked.history is not None:
        shared = [profile for profile in profiles if profile.name in asked.history.features]
        source = {profile.name: parse_column(profile, asked.history.frame[profile.name]) for profile in shared}
    return timings(profiles, values, asked, source)


_NO_MODEL = "no model: predictions cannot be replayed, causes are not proven by intervention"
_NO_LABELS = "no labels: the effect on quality cannot be measured"
_NO_METRIC = "no offline metric: no row with a label, or one score a row for more than two classes"


def _evaluate(
    model: Any,
    frame: pd.DataFrame,
    labels: Floats | None,
    eval_data: tuple[pd.DataFrame, Any] | None,
    random: np.random.Generator,
    classes: tuple[str, ...],
) -> tuple[Evaluation | None, ColumnProfile]:
    held_out, truth = frame, labels
    if eval_data is not None:
        held_out, truth = eval_data[0], golden.label_numbers(eval_data[1], classes)
    picked = random.choice(len(held_out), min(2000, len(held_out)), replace=False)
    scores = golden.scores(model, held_out.iloc[picked], classes)
    score = profile_column(pd.Series(scores), "prediction")
    if truth is None:
        return None, score
    known = np.isfinite(truth[picked]) & np.isfinite(scores)
    if not known.any():
        return None, score
    right = truth[picked][known]
    name, value, low, high = golden.metric_with_interval(right, scores[known], random, len(classes))
    return Evaluation(name, value, low, high, int(known.sum())) if name else None, score
