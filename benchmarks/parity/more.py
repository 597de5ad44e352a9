"""Faults in other forms than those of `faults`: other units, locales, words for null, fills, spellings and maps.

They check that what names one unit or one spelling names the next one too. Names begin with `more:`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.parity import faults
from benchmarks.parity.faults import Fault, Truth, levels, mapped, numbers

_UNITS = {
    "psi_bar": 0.0689475729,
    "imperial_gallon_litre": 4.54609,
    "knot_mph": 1.15077945,
    "kwh_mj": 3.6,
    "horsepower_kw": 0.745699872,
    "sqft_per_sqm": 10.76391,
    "acre_hectare": 0.40468564,
    "mile_foot": 5280.0,
    "stone_kg": 6.35029318,
    "fraction": 0.01,
    "basis_points": 1e4,
    "minutes": 60.0,
}


def _scaled(factor: float) -> Callable[..., Any]:
    return lambda x, ref, c, rng: (x * factor, {"factor": factor})


def _positive(frame: pd.DataFrame) -> list[str]:
    return [name for name in numbers(frame) if frame[name].min() > 0]


def _wide_positive(frame: pd.DataFrame) -> list[str]:
    return [name for name in _positive(frame) if frame[name].max() > 4 * frame[name].min()]


def _grouped(mark: str, point: str) -> Callable[[Any], Any]:
    """A number as another locale writes it: 1.234,5 or 1 234,5."""

    def write(value: Any) -> Any:
        if pd.isna(value):
            return None
        whole, _, rest = f"{value:,.10g}".partition(".")
        return whole.replace(",", mark) + (point + rest if rest else "")

    return write


def _written(write: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda x, ref, c, rng: (np.array([write(value) for value in x], dtype=object), {})


def _large(frame: pd.DataFrame) -> list[str]:
    return [name for name in numbers(frame) if frame[name].abs().quantile(0.1) >= 1000]


def _fraction(frame: pd.DataFrame) -> list[str]:
    return [name for name in numbers(frame) if np.mean(frame[name] != np.round(frame[name])) > 0.5]


def _all(value: Any) -> Callable[..., Any]:
    def fill(x: Any, ref: Any, c: str, rng: Any) -> Any:
        known = ref[c].dropna()
        if (known == value).mean() > 0.01 or (np.isreal(value) and known.min() <= value <= known.max()):
            return None
        parameters = {"value": value} if np.isreal(value) else {}
        return np.full(len(x), value, dtype=float if x.dtype.kind in "iuf" else object), parameters

    return fill


def _nulls(token: str) -> Callable[..., Any]:
    def fill(x: Any, ref: Any, c: str, rng: Any) -> Any:
        return None if (ref[c].astype(str) == token).any() else (np.full(len(x), token, dtype=object), {})

    return fill


def _mode(x: Any, ref: Any, c: str, rng: Any) -> Any:
    top = ref[c].value_counts(normalize=True)
    return None if top.iloc[0] > 0.5 else (np.full(len(x), top.index[0], dtype=object), {})


def _spelled(function: Callable[[str], str]) -> Callable[..., Any]:
    return lambda x, ref, c, rng: (
        x.map(lambda value: function(value) if isinstance(value, str) else value).to_numpy(object),
        {},
    )


def _coded(x: Any, ref: Any, c: str, rng: Any) -> Any:
    """Levels as the codes of an encoder that sorts them."""
    codes = {name: f"c{place}" for place, name in enumerate(sorted(ref[c].dropna().unique()))}
    return x.map(lambda value: codes.get(value, value)).to_numpy(object), {}


def _two_exchanged(x: Any, ref: Any, c: str, rng: Any) -> Any:
    top = list(ref[c].value_counts().index[:2])
    turned = dict(zip(top, top[::-1], strict=True))
    return x.map(lambda value: turned.get(value, value)).to_numpy(object), {}


def _reversed(x: Any, ref: Any, c: str, rng: Any) -> Any:
    names = sorted(ref[c].dropna().unique())
    turned = dict(zip(names, names[::-1], strict=True))
    return (x.map(lambda value: turned.get(value, value)).to_numpy(object), {}) if len(names) > 2 else None


def _winsorised(low: float, high: float) -> Callable[..., Any]:
    def cut(x: Any, ref: Any, c: str, rng: Any) -> Any:
        at, upto = float(ref[c].quantile(low)), float(ref[c].quantile(high))
        inside = ref[c].between(at, upto, inclusive="neither").mean()
        if (low and at == ref[c].min()) or (high < 1 and upto == ref[c].max()) or inside < 0.4:
            return None
        return np.clip(x, at, upto), {}

    return cut


def _robust(x: Any, ref: Any, c: str, rng: Any) -> Any:
    iqr = float(ref[c].quantile(0.75) - ref[c].quantile(0.25))
    return None if iqr == 0 or abs(iqr - 1) < 0.2 else ((x - ref[c].median()) / iqr, {})


def _symmetric(x: Any, ref: Any, c: str, rng: Any) -> Any:
    low, high = ref[c].min(), ref[c].max()
    return None if (low, high) in ((0, 1), (-1, 1)) else (2 * (x - low) / (high - low) - 1, {})


def _whole(frame: pd.DataFrame) -> list[str]:
    return [name for name in numbers(frame) if np.ptp(frame[name].dropna()) > 200]


def _yes_no(x: Any, ref: Any, c: str, rng: Any) -> Any:
    truth = x.map(lambda value: str(value).lower() in ("1", "yes", "y", "true"))
    return truth.map({True: "Y", False: "N"}).to_numpy(object), {}


def _accented(frame: pd.DataFrame) -> list[str]:
    return [n for n in levels(frame) if any(not str(v).isascii() for v in frame[n].dropna().unique())]


def _spaced(frame: pd.DataFrame) -> list[str]:
    return [n for n in levels(frame) if frame[n].astype(str).str.contains(" ").mean() > 0.3]


def _some_alike(frame: pd.DataFrame) -> list[str]:
    return [n for n in levels(frame) if any(frame[n].nunique() == frame[m].nunique() for m in levels(frame) if m != n)]


def _with_nearest(
    live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
) -> tuple[pd.DataFrame, Truth] | None:
    """Exchange a column with the one of the same scale, of all others: a client that mixes up like with like."""
    own = np.log(ref[column].std())
    others = [n for n in numbers(ref) if n != column and ref[n].std() > 0]
    if not others:
        return None
    other = min(others, key=lambda n: abs(np.log(ref[n].std()) - own) + abs(ref[n].mean() - ref[column].mean()))
    rows = np.ones(len(live), bool) if share >= 1 else rng.random(len(live)) < share
    a, b = live[column].astype(float), live[other].astype(float)
    changed = live.assign(**{column: a.where(~rows, b), other: b.where(~rows, a)})
    return changed, Truth(("columns_swapped",), (column, other))


def _late(
    live: pd.DataFrame, ref: pd.DataFrame, column: str, rng: np.random.Generator, share: float
) -> tuple[pd.DataFrame, Truth]:
    moved = pd.Series(np.roll(live[column].to_numpy(), 3), index=live.index)
    return live.assign(**{column: moved}), Truth(("stale",), (column,))


def _as_epoch(per_second: float) -> Callable[..., Any]:
    def convert(x: Any, ref: Any, c: str, rng: Any) -> Any:
        seconds = x.astype("datetime64[ns]").astype("int64") / 1e9
        return (seconds * per_second).round().astype("int64"), {}

    return convert


def _old_date(x: Any, ref: Any, c: str, rng: Any) -> Any:
    return pd.to_datetime(pd.Series(["1900-01-01"] * len(x))).to_numpy(), {}


def _hours(hours: float) -> Callable[..., Any]:
    return lambda x, ref, c, rng: (x + pd.Timedelta(hours=hours), {"hours": hours})


_TIMES = {
    "stamp_dst": (("time_zone",), _hours(1)),
    "stamp_tokyo": (("time_zone",), _hours(9)),
    "as_epoch_s": (("epoch_unit",), _as_epoch(1.0)),
    "as_epoch_ns": (("epoch_unit",), _as_epoch(1e9)),
    "fill_1900": (("default_fill", "constant"), _old_date),
}
_TOKENS = ("-", "?", "n/a", "#N/A", "NULL", "")
_FILLS: tuple[float, ...] = (-1.0, -99.0, 9999.0)


def _mapped(
    name: str, kinds: tuple[str, ...], columns: Callable[[pd.DataFrame], list[str]], function: Callable[..., Any]
) -> Fault:
    return mapped(f"more:{name}", kinds, columns, function)


MORE_FAULTS: tuple[Fault, ...] = (
    *(_mapped(name, ("unit",), numbers, _scaled(factor)) for name, factor in _UNITS.items()),
    _mapped("fahrenheit_celsius", ("affine_unit",), numbers, lambda x, r, c, g: ((x - 32) / 1.8, {"factor": 1 / 1.8})),
    _mapped("celsius_kelvin", ("affine_unit",), numbers, lambda x, r, c, g: (x + 273.15, {"offset": 273.15})),
    _mapped("one_off", ("affine",), numbers, lambda x, r, c, g: (x + 1.5 * r[c].std(), {"factor": 1.0})),
    _mapped("log", ("log",), _positive, lambda x, r, c, g: (np.log(x), {})),
    _mapped("log2", ("log",), _positive, lambda x, r, c, g: (np.log2(x), {})),
    _mapped("square_root", ("step_differs",), _wide_positive, lambda x, r, c, g: (np.sqrt(x), {})),
    _mapped("square", ("step_differs",), _wide_positive, lambda x, r, c, g: (x**2, {})),
    _mapped("robust_scaled", ("standardized",), numbers, _robust),
    _mapped("scaled_to_one", ("minmax_scaled",), numbers, _symmetric),
    _mapped("winsorised_10_90", ("clipped",), numbers, _winsorised(0.1, 0.9)),
    _mapped("clipped_below", ("clipped",), numbers, _winsorised(0.15, 1.0)),
    _mapped("rounded_tens", ("rounded",), _whole, lambda x, r, c, g: (np.round(x, -1), {})),
    _mapped("continental", ("decimal_comma",), _large, _written(_grouped(".", ","))),
    _mapped("spaced_comma", ("decimal_comma",), _fraction, _written(_grouped(" ", ","))),
    _mapped("thousands", ("decimal_comma",), _large, _written(_grouped(",", "."))),
    _mapped("currency", ("numeric_as_text",), numbers, _written(lambda v: None if pd.isna(v) else f"$ {v}")),
    _mapped("with_unit", ("numeric_as_text",), numbers, _written(lambda v: None if pd.isna(v) else f"{v} kg")),
    *(_mapped(f"token_{t or 'empty'}", ("null_token",), lambda f: numbers(f) + levels(f), _nulls(t)) for t in _TOKENS),
    *(_mapped(f"fill_{value:g}", ("default_fill",), numbers, _all(value)) for value in _FILLS),
    _mapped("fill_missing", ("default_fill",), levels, _all("Missing")),
    _mapped("fill_mode", ("default_fill", "constant"), levels, _mode),
    _mapped("title_case", ("letter_case",), levels, _spelled(lambda v: v.title() if v != v.title() else v.lower())),
    _mapped("trailing_space", ("whitespace",), levels, _spelled(lambda v: v + " ")),
    _mapped("byte_order_mark", ("encoding_damage",), levels, _spelled(lambda v: "\ufeff" + v)),
    _mapped("percent_encoded", ("encoding_damage",), _spaced, _spelled(lambda v: v.replace(" ", "%20"))),
    _mapped("decomposed", ("encoding_damage",), _accented, _spelled(lambda v: unicodedata.normalize("NFD", v))),
    _mapped("prefixed", ("renamed_level",), levels, _spelled(lambda v: "cat_" + v)),
    _mapped("coded", ("renamed_level",), levels, _coded),
    _mapped("two_exchanged", ("category_relabelled",), levels, _two_exchanged),
    _mapped("reversed", ("category_relabelled",), levels, _reversed),
    _mapped("yes_no", ("boolean_as_text",), faults.binary, _yes_no),
    Fault("more:swapped_alike", numbers, _with_nearest),
    Fault("more:three_rows_late", numbers, _late, (1.0,)),
    *(faults.times_fault(f"more:{name}", kinds, function) for name, (kinds, function) in _TIMES.items()),
)
