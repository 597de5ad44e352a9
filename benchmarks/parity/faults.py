"""Faults put into live rows: what a broken client, parser or pipeline would have sent.

Each fault names the columns it may be put into and returns the broken frame with what a verdict should say. The share
of rows is drawn at random; faults of names (a missing column) have no share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.kinds import FAMILY_OF


@dataclass(frozen=True)
class Truth:
    """What should be said: one of these kinds (most are one), these features, and these parameters."""

    kinds: tuple[str, ...]
    features: tuple[str, ...]
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def families(self) -> set[str]:
        return {FAMILY_OF[kind] for kind in self.kinds}


@dataclass(frozen=True)
class Case:
    """Live rows with a fault (or, without `truth`, only other rows of the same table)."""

    name: str
    share: float
    column: str
    live: pd.DataFrame
    truth: Truth | None
    #: What is known beside the rows, as `diagnose` takes it: predictions, labels, rescore, environment, identity …
    given: Mapping[str, Any] = field(default_factory=dict)
    group: str = "rows"


@dataclass(frozen=True)
class Fault:
    name: str
    columns: Callable[[pd.DataFrame], list[str]]
    put: Callable[[pd.DataFrame, pd.DataFrame, str, np.random.Generator, float], tuple[pd.DataFrame, Truth] | None]
    shares: tuple[float, ...] = (1.0, 0.3, 0.05)


def numbers(frame: pd.DataFrame) -> list[str]:
    return [n for n in frame if pd.api.types.is_numeric_dtype(frame[n]) and frame[n].nunique() > 10]


def levels(frame: pd.DataFrame) -> list[str]:
    return [n for n in frame if frame[n].dtype.kind not in "iufbM" and 2 <= frame[n].nunique() <= 60]


def _fraction(frame: pd.DataFrame) -> list[str]:
    return [n for n in numbers(frame) if np.mean(frame[n] != np.round(frame[n])) > 0.5]


def _wide(frame: pd.DataFrame) -> list[str]:
    return [n for n in numbers(frame) if frame[n].min() > -0.99 and frame[n].max() > 3]


def _narrow(frame: pd.DataFrame) -> list[str]:
    return [n for n in numbers(frame) if frame[n].max() < 20 and np.ptp(frame[n]) > 0.5]


def _times(frame: pd.DataFrame) -> list[str]:
    return [n for n in frame if frame[n].dtype.kind == "M"]


def _hours(frame: pd.DataFrame) -> list[str]:
    return [
        n
        for n in frame
        if frame[n].dtype.kind == "i" and frame[n].min() == 0 and frame[n].max() == 23 and frame[n].nunique() > 20
    ]


def _some(live: pd.DataFrame, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.ones(len(live), bool) if share >= 1 else rng.random(len(live)) < share


def mapped(
    name: str, kinds: tuple[str, ...], columns: Callable[[pd.DataFrame], list[str]], function: Callable[..., Any]
) -> Fault:
    """A fault that maps the values of one column; `function(values, training, rng)` gives values and parameters."""

    def put(
        live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
    ) -> tuple[pd.DataFrame, Truth] | None:
        rows = _some(live, share, rng)
        done = function(live[column], ref, column, rng)
        if done is None:
            return None
        values, parameters = done
        dtype = object if np.asarray(values).dtype == object or live[column].dtype.kind not in "iufb" else float
        changed = live[column].astype(dtype)
        new = pd.Series(np.asarray(values, dtype=dtype), index=live.index)
        changed = changed.where(~rows, new)
        if not (changed.map(repr) != live[column].map(repr)).any():
            return None
        return live.assign(**{column: changed}), Truth(kinds, (column,), parameters)

    return Fault(name, columns, put)


def _unit(factor: float) -> Callable[..., Any]:
    return lambda x, ref, c, rng: (x * factor, {"factor": factor})


def _standard(x: Any, ref: Any, c: str, rng: Any) -> Any:
    mean, sd = ref[c].mean(), ref[c].std(ddof=0)
    return None if abs(mean) < 0.2 * sd and 0.8 < sd < 1.25 else ((x - mean) / sd, {"mean": mean, "sd": sd})


def _twice(x: Any, ref: Any, c: str, rng: Any) -> Any:
    mean, sd = ref[c].mean(), ref[c].std(ddof=0)
    return ((x - mean) / sd - mean) / sd, {}


def _wrong(x: Any, ref: Any, c: str, rng: Any) -> Any:
    other = rng.choice([n for n in numbers(ref) if n != c] or [c])
    if other == c:
        return None
    own = abs(np.log(ref[c].std() / ref[other].std())) + abs(ref[c].mean() - ref[other].mean()) / ref[c].std()
    return None if own < 0.5 else ((x - ref[other].mean()) / ref[other].std(ddof=0), {})


def _minmax(x: Any, ref: Any, c: str, rng: Any) -> Any:
    low, high = ref[c].min(), ref[c].max()
    return None if (low, high) == (0, 1) else ((x - low) / (high - low), {"minimum": low, "maximum": high})


def _affine(x: Any, ref: Any, c: str, rng: Any) -> Any:
    factor, offset = rng.uniform(1.3, 4.7), rng.uniform(1, 3) * ref[c].std()
    return factor * x + offset, {"factor": factor}


def _clip(x: Any, ref: Any, c: str, rng: Any) -> Any:
    bound = float(ref[c].quantile(0.85))
    return None if bound == ref[c].max() or (ref[c] == bound).mean() > 0.1 else (np.minimum(x, bound), {"bound": bound})


def _fill(value: Callable[[pd.Series], Any]) -> Callable[..., Any]:
    def fill(x: Any, ref: Any, c: str, rng: Any) -> Any:
        filler = value(ref[c])
        if (ref[c] == filler).mean() > 0.5:
            return None
        return np.full(len(x), filler, dtype=object if x.dtype.kind not in "iuf" else float), {
            "value": filler
        } if np.isreal(filler) else {}

    return fill


def _constant(x: Any, ref: Any, c: str, rng: Any) -> Any:
    value = x.iloc[int(rng.integers(len(x)))]
    return (np.full(len(x), value, dtype=object if x.dtype.kind not in "iuf" else float), {})


def _text(function: Callable[[str], str]) -> Callable[..., Any]:
    return lambda x, ref, c, rng: (x.map(lambda v: function(v) if isinstance(v, str) else v).to_numpy(object), {})


def _rename(x: Any, ref: Any, c: str, rng: Any) -> Any:
    counts = ref[c].value_counts(normalize=True)
    if not (counts > 0.08).any():
        return None
    level = rng.choice(counts.index[counts > 0.08])
    return (x.map(lambda v: "grp_" + str(level)[::-1] + "_x" if v == level else v).to_numpy(object), {})


def _relabel(x: Any, ref: Any, c: str, rng: Any) -> Any:
    names = sorted(ref[c].dropna().unique())
    turned = dict(zip(names, names[1:] + names[:1], strict=True))
    return (x.map(lambda v: turned.get(v, v)).to_numpy(object), {})


def _comma(x: Any, ref: Any, c: str, rng: Any) -> Any:
    return (np.array([str(v).replace(".", ",") for v in x], object), {})


_BOOLEANS = ({"yes", "no"}, {"y", "n"}, {"true", "false"})


def binary(frame: pd.DataFrame) -> list[str]:
    numeric = [n for n in frame if frame[n].dtype.kind in "iub" and set(frame[n].unique()) == {0, 1}]
    return numeric + [n for n in levels(frame) if {str(v).lower() for v in frame[n].unique()} in _BOOLEANS]


def _as_words(x: Any, ref: Any, c: str, rng: Any) -> Any:
    truth = x.map(lambda v: str(v).lower() in ("1", "yes", "y", "true"))
    return (truth.map({True: "true", False: "false"}).to_numpy(object), {})


def _swap(
    live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
) -> tuple[pd.DataFrame, Truth] | None:
    others = [n for n in numbers(ref) if n != column]
    if not others:
        return None
    other = str(rng.choice(others))
    rows = _some(live, share, rng)
    a, b = live[column].astype(float), live[other].astype(float)
    return live.assign(**{column: a.where(~rows, b), other: b.where(~rows, a)}), Truth(
        ("columns_swapped",), (column, other)
    )


def _shift(
    live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
) -> tuple[pd.DataFrame, Truth] | None:
    names = numbers(ref)
    if len(names) < 4:
        return None
    moved = live.assign(**{n: live[names[(k + 1) % len(names)]].astype(float) for k, n in enumerate(names)})
    return moved, Truth(("column_shift",), tuple(names))


def _named(kind: str, change: Callable[[pd.DataFrame, str], pd.DataFrame]) -> Fault:
    def put(
        live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
    ) -> tuple[pd.DataFrame, Truth]:
        return change(live, column), Truth((kind,), ("extra_thing",) if kind == "extra_column" else (column,))

    return Fault(kind, lambda frame: list(frame.columns), put, (1.0,))


def _stale(
    live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
) -> tuple[pd.DataFrame, Truth]:
    rows = _some(live, share, rng)
    other = live[column].sample(frac=1.0, random_state=int(rng.integers(1 << 30))).to_numpy()
    return live.assign(**{column: live[column].where(~rows, pd.Series(other, index=live.index))}), Truth(
        ("stale",), (column,)
    )


def _days(x: Any, ref: Any, c: str, rng: Any) -> Any:
    turned = [pd.Timestamp(t.year, t.day, t.month, t.hour) if t.day <= 12 else t for t in x]
    return (np.array(turned, object), {})


def times_fault(name: str, kinds: tuple[str, ...], function: Callable[..., Any]) -> Fault:
    def put(
        live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
    ) -> tuple[pd.DataFrame, Truth]:
        rows = _some(live, share, rng)
        values, parameters = function(live[column], ref, column, rng)
        new = pd.Series(values, index=live.index)
        merged = new if share >= 1 else live[column].astype(object).where(~rows, new.astype(object))
        return live.assign(**{column: merged}), Truth(kinds, (column,), parameters)

    return Fault(name, _times, put)


def _epoch_s(x: Any, ref: Any, c: str, rng: Any) -> Any:
    # Milliseconds read as nanoseconds: the usual 1970.
    return pd.to_datetime(x.astype("datetime64[ns]").astype("int64") // 1_000_000), {}


FAULTS: tuple[Fault, ...] = (
    mapped("unit_100", ("unit",), numbers, _unit(100.0)),
    mapped("unit_0.001", ("unit",), numbers, _unit(0.001)),
    mapped("unit_2.54", ("unit",), numbers, _unit(2.54)),
    mapped("unit_0.4536", ("unit",), numbers, _unit(0.45359237)),
    mapped("unit_10", ("unit",), numbers, _unit(10.0)),
    mapped(
        "celsius_fahrenheit",
        ("affine_unit",),
        numbers,
        lambda x, r, c, g: (x * 1.8 + 32, {"factor": 1.8, "offset": 32.0}),
    ),
    mapped("standardized", ("standardized",), numbers, _standard),
    mapped("standardized_twice", ("standardized_twice",), numbers, _twice),
    mapped("wrong_scaler", ("wrong_scaler",), numbers, _wrong),
    mapped("minmax", ("minmax_scaled",), numbers, _minmax),
    mapped("log1p", ("log",), _wide, lambda x, r, c, g: (np.log1p(x), {})),
    mapped("log10", ("log",), lambda f: [n for n in _wide(f) if f[n].min() > 0], lambda x, r, c, g: (np.log10(x), {})),
    mapped("exp", ("exp",), _narrow, lambda x, r, c, g: (np.exp(x), {})),
    mapped("affine", ("affine",), numbers, _affine),
    mapped("clipped", ("clipped",), numbers, _clip),
    mapped("rounded", ("rounded",), _fraction, lambda x, r, c, g: (np.round(x, 1 if np.ptp(r[c]) > 3 else 2), {})),
    mapped(
        "truncated",
        ("lossy_cast",),
        lambda f: [n for n in _fraction(f) if np.ptp(f[n]) > 8],
        lambda x, r, c, g: (np.trunc(x), {}),
    ),
    mapped("float32", ("float32",), _fraction, lambda x, r, c, g: (x.to_numpy().astype(np.float32).astype(float), {})),
    mapped("sign_flip", ("sign_flip",), numbers, lambda x, r, c, g: (-x, {})),
    mapped(
        "nulls",
        ("nulls",),
        lambda f: numbers(f) + levels(f),
        lambda x, r, c, g: (np.full(len(x), None if x.dtype.kind not in "iuf" else np.nan), {}),
    ),
    mapped("fill_0", ("default_fill",), numbers, _fill(lambda r: 0.0)),
    mapped("fill_-999", ("default_fill",), numbers, _fill(lambda r: -999.0)),
    mapped("fill_mean", ("default_fill",), numbers, _fill(lambda r: float(r.mean()))),
    mapped("fill_median", ("default_fill",), numbers, _fill(lambda r: float(r.median()))),
    mapped("fill_unknown", ("default_fill",), levels, _fill(lambda r: "unknown")),
    Fault(
        "constant",
        lambda f: numbers(f) + levels(f),
        mapped("", ("constant", "default_fill"), numbers, _constant).put,
        (1.0,),
    ),
    Fault("stale", numbers, _stale, (1.0,)),
    Fault("columns_swapped", numbers, _swap),
    Fault("column_shift", numbers, _shift, (1.0,)),
    mapped("numeric_as_text", ("numeric_as_text",), numbers, lambda x, r, c, g: (x.astype(str).to_numpy(object), {})),
    mapped("decimal_comma", ("decimal_comma",), _fraction, _comma),
    mapped("boolean_as_text", ("boolean_as_text",), binary, _as_words),
    mapped("upper_case", ("letter_case",), levels, _text(str.upper)),
    mapped("whitespace", ("whitespace",), levels, _text(lambda v: " " + v + " ")),
    mapped(
        "html_escaped",
        ("encoding_damage",),
        levels,
        _text(lambda v: v.replace(" ", "&nbsp;").replace("-", "&#45;").replace("a", "&#97;")),
    ),
    mapped("mojibake", ("encoding_damage",), levels, _text(lambda v: v.replace("e", "Ã©").replace("-", "â€“"))),
    mapped("renamed_level", ("renamed_level",), levels, _rename),
    mapped("new_level", ("new_level",), levels, lambda x, r, c, g: (np.full(len(x), "zz_new", object), {})),
    mapped(
        "null_token",
        ("null_token",),
        lambda f: numbers(f) + levels(f),
        lambda x, r, c, g: (np.full(len(x), "None", object), {}),
    ),
    mapped("category_relabelled", ("category_relabelled",), levels, _relabel),
    _named("missing_column", lambda live, c: live.drop(columns=c)),
    _named("extra_column", lambda live, c: live.assign(extra_thing=1.0)),
    _named("renamed_column", lambda live, c: live.rename(columns={c: "fld_" + c[:2] + "q7"})),
    mapped("hour_shift", ("time_zone",), _hours, lambda x, r, c, g: ((x + 5) % 24, {"hours": 5.0})),
    times_fault("stamp_shift", ("time_zone",), lambda x, r, c, g: (x + pd.Timedelta(hours=-6), {"hours": -6.0})),
    times_fault("epoch_ms", ("epoch_unit",), _epoch_s),
    times_fault("day_month", ("day_month_swapped",), _days),
)
