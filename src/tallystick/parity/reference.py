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
from tallystick.parity.joint import Joint, Values, fit_joint
from tallystick.parity.profile import ColumnProfile, profile_column

#: Rows that the joint is counted from; its errors are far below those of any live sample then.
JOINT_ROWS = 10_000
#: Fewer rows of training than this are declared in every verdict.
FEW_ROWS = 200
FORMAT = 1

Predict = Callable[[pd.DataFrame], Any]


class Evaluation(msgspec.Struct, frozen=True):
    """Offline quality: `metric` is `auc`, `accuracy` or `rmse`, with a 95 % interval by bootstrap over rows."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


class Scaler(msgspec.Struct, frozen=True):
    """Constants of one fitted scaler of the model: value -> (value - centre) / scale."""

    column: str
    centre: float
    scale: float


class Reference(msgspec.Struct, frozen=True):
    """Everything that a diagnosis compares live rows with. Holds no model; `rows` are golden rows, as sent."""

    columns: tuple[ColumnProfile, ...]
    joint: Joint
    rows: pd.DataFrame
    predictions: Floats
    labels: Floats
    scalers: tuple[Scaler, ...] = ()
    evaluation: Evaluation | None = None
    score: ColumnProfile | None = None
    label_shares: dict[str, float] = msgspec.field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    lint: tuple[str, ...] = ()
    label_strength: dict[str, float] = msgspec.field(default_factory=dict)
    #: Key of the digests of hidden levels: they cannot be looked up in a list of names without this file.
    hash_key: bytes = b""
    #: Where it is from: run, commit, digest of the data, rows, time of capture.
    lineage: dict[str, str] = msgspec.field(default_factory=dict)
    #: The model itself, where it was given in this process; it is never stored.
    model: Any = None

    @classmethod
    def from_frame(
        cls,
        X: pd.DataFrame,
        model: Any = None,
        y: Any = None,
        eval_data: tuple[pd.DataFrame, Any] | None = None,
        privacy: str | Mapping[str, str] = "raw",
        *,
        k_anonymity: int = 1,
        predict: Predict | None = None,
        seed: int = 0,
        max_bytes: int = 1_000_000,
    ) -> Reference:
        """Return the reference of a training frame.

        `model` has `predict` or `predict_proba`, or is a function of a frame. Where it is served with another answer
        than that (labels instead of probabilities), `predict` gives what is served. `privacy` is `raw`, `hashed`,
        `bucketed` or `none`, for all columns or by column. Levels of fewer than `k_anonymity` rows are kept as keyed
        digests only. Raises InvalidParameter when X is empty, has a column name twice, or an option is unknown.
        """
        return _capture(X, model, predict or model, y, eval_data, privacy, k_anonymity, seed, max_bytes)

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
        return None if self.model is None else golden.scores(self.model, frame)

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
) -> Reference:
    frame = checked_frame(frame)
    privacy.check(options, tuple(frame.columns))
    random = np.random.default_rng(seed)
    profiles = tuple(profile_column(frame[name], name) for name in frame.columns)
    picked = np.arange(len(frame))
    if len(frame) > JOINT_ROWS:
        picked = np.sort(random.choice(len(frame), JOINT_ROWS, replace=False))
    sample = frame.iloc[picked]
    values: list[Values] = [parse_column(profile, sample[profile.name]) for profile in profiles]
    joint = fit_joint(profiles, values)
    labels = None if y is None else golden.label_numbers(y)
    chosen = golden.choose_rows(profiles, values, random, max_bytes)
    rows = sample.iloc[chosen].reset_index(drop=True)
    degraded = [text for missing, text in ((scorer is None, _NO_MODEL), (y is None, _NO_LABELS)) if missing]
    if len(frame) < FEW_ROWS:
        degraded.append(f"made from {len(frame)} rows only: what is rare in training looks like a fault in live rows")
    predictions, evaluation, score = np.zeros(0), None, None
    if scorer is not None:
        predictions = golden.scores(scorer, rows)
        evaluation, score = _evaluate(scorer, frame, labels, eval_data, random)
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
        degraded=tuple(degraded),
        lint=lint.findings(profiles, strength, model),
        label_strength=strength,
        hash_key=random.bytes(16),
        model=scorer,
    )
    return privacy.redact(reference, options, k_anonymity)


_NO_MODEL = "no model: predictions cannot be replayed, causes are not proven by intervention"
_NO_LABELS = "no labels: the effect on quality cannot be measured"


def _evaluate(
    model: Any,
    frame: pd.DataFrame,
    labels: Floats | None,
    eval_data: tuple[pd.DataFrame, Any] | None,
    random: np.random.Generator,
) -> tuple[Evaluation | None, ColumnProfile]:
    held_out, truth = frame, labels
    if eval_data is not None:
        held_out, truth = checked_frame(eval_data[0]), golden.label_numbers(eval_data[1])
    picked = random.choice(len(held_out), min(2000, len(held_out)), replace=False)
    scores = golden.scores(model, held_out.iloc[picked])
    score = profile_column(pd.Series(scores), "prediction")
    if truth is None:
        return None, score
    name, value, low, high = golden.metric_with_interval(truth[picked], scores, random)
    return Evaluation(name, value, low, high, len(picked)), score


def checked_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with text column names; raises InvalidParameter when it is empty or a name stands twice."""
    if not isinstance(frame, pd.DataFrame):
        raise InvalidParameter(f"expected a pandas DataFrame of features, got {type(frame).__name__}")
    if not len(frame) or not len(frame.columns):
        raise InvalidParameter("the frame has no rows or no columns")
    named = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if named.columns.has_duplicates:
        twice = sorted(set(named.columns[named.columns.duplicated()]))
        raise InvalidParameter(f"column names stand twice: {', '.join(twice[:5])}")
    return named.reset_index(drop=True)
