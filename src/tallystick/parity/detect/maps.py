"""Maps that a fault may have applied to a column of numbers, each with its inverse and the name of its constants.

Constants of units are exact by definition (SI brochure, 9th ed.; NIST SP 811); the others are the training column's
own mean, deviation and range, as a scaler would have fitted them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.parity.columns import Floats

if TYPE_CHECKING:
    from tallystick.parity.profile import NumberProfile
    from tallystick.parity.reference import Reference

_UNITS: dict[str, float] = {
    "seconds in a minute": 60.0,
    "seconds in an hour": 3600.0,
    "hours in a day": 24.0,
    "minutes in a day": 1440.0,
    "seconds in a day": 86400.0,
    "days in a week": 7.0,
    "months in a year": 12.0,
    "days in a year": 365.25,
    "cm in an inch": 2.54,
    "cm in a foot": 30.48,
    "feet in a metre": 1 / 0.3048,
    "metres in a yard": 0.9144,
    "km in a mile": 1.609344,
    "km in a nautical mile": 1.852,
    "pounds in a kilogram": 1 / 0.45359237,
    "grams in an ounce": 28.349523125,
    "ounces in a pound": 16.0,
    "inches in a foot": 12.0,
    "km/h in m/s": 3.6,
    "bytes in a KiB": 1024.0,
    "bytes in a MiB": 1048576.0,
    "degrees in a radian": 180.0 / np.pi,
    "8-bit range": 255.0,
    "litres in a US gallon": 3.785411784,
    "joules in a calorie": 4.184,
    "mmHg in a kPa": 7.50061683,
    "mg/dL glucose in mmol/L": 18.0182,
    "mg/dL cholesterol in mmol/L": 38.67,
    "µmol/L creatinine in mg/dL": 88.42,
    "litres in an imperial gallon": 4.54609,
    "mm in an inch": 25.4,
    "inches in a metre": 1 / 0.0254,
    "feet in a mile": 5280.0,
    "mph in a knot": 1.852 / 1.609344,
    "mph in m/s": 3.6 / 1.609344,
    "knots in m/s": 3.6 / 1.852,
    "kPa in a psi": 6.894757293,
    "psi in a bar": 14.503773773,
    "kPa in an atmosphere": 101.325,
    "hPa in an inch of mercury": 33.86389,
    "kilowatts in a horsepower": 0.745699872,
    "square feet in a square metre": 10.763910417,
    "acres in a hectare": 2.471053815,
    "kg in a stone": 6.35029318,
    "weeks in a year": 52.0,
    "days in a month": 30.4375,
    "double": 2.0,
}
#: Part of a deviation within which two scalers are the same: they were counted by n or by n - 1.
SAME_SCALE = 3e-4
_POWERS = (1, 2, 3, 4, 5, 6, 9)
#: A factor within this of a power of ten, in logarithms, is near it.
NEAR_TEN = 0.1


@dataclass(frozen=True)
class NumberMap:
    """live = forward(training). `slope` is |d inverse / d live|; `cost` the nats that its rarity costs."""

    kind: str
    parameters: Mapping[str, Any]
    forward: Callable[[Floats], Floats]
    inverse: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    cost: float
    is_decreasing: bool = False
    #: Factor and offset of a straight line, so that many can be undone at once; None for a curve.
    line: tuple[float, float] | None = None

    @property
    def is_estimated(self) -> bool:
        """Whether its constants were counted on rows, and so are a little off those that the client counted."""
        return self.kind in ("standardized", "standardized_twice", "minmax_scaled", "wrong_scaler", "not_standardized")


def inverses_of(maps: Sequence[NumberMap], values: Floats) -> Floats:
    """Return maps x values: values with each map undone, NaN or infinite where no value led to them."""
    with np.errstate(all="ignore"):
        return _each_of(maps, values, lambda line: (values - line[1]) / line[0], lambda each: each.inverse(values))


def slopes_of(maps: Sequence[NumberMap], values: Floats) -> Floats:
    """Return maps x values: how steep the inverse of each map is."""
    with np.errstate(all="ignore"):
        return _each_of(maps, values, lambda line: 1 / np.abs(line[0]), lambda each: each.slope(values))


def _each_of(
    maps: Sequence[NumberMap],
    values: Floats,
    of_lines: Callable[[Floats], Floats],
    of_curve: Callable[[NumberMap], Floats],
) -> Floats:
    """Return maps x values: straight lines, which are many, all at once; the few curves one by one."""
    found = np.empty((len(maps), len(values)))
    straight = [k for k, each in enumerate(maps) if each.line is not None]
    if straight:
        # Factors and offsets, each lines x 1.
        found[straight] = of_lines(np.array([maps[k].line for k in straight]).T[:, :, None])
    for k, each in enumerate(maps):
        if each.line is None:
            found[k] = of_curve(each)
    return found


def affine(kind: str, factor: float, offset: float, cost: float, **parameters: Any) -> NumberMap:
    """Return live = factor · training + offset."""
    return NumberMap(
        kind,
        {**parameters, "factor": factor, "offset": offset} if kind != "unit" else {"factor": factor, **parameters},
        lambda x: factor * x + offset,
        lambda x: (x - offset) / factor,
        lambda x: np.full(np.shape(x), 1 / abs(factor)),
        cost,
        factor < 0,
        (factor, offset),
    )


@cache
def unit_maps() -> tuple[NumberMap, ...]:
    """Return factors of powers of ten and of named units, in both directions."""
    maps = [
        affine("unit", 10.0 ** (sign * k), 0.0, 0.3 * k, name=f"10^{sign * k}") for k in _POWERS for sign in (1, -1)
    ]
    for name, factor in _UNITS.items():
        # Two is what anything may grow by; what lies near a power of ten is rarely meant, as binary units are not.
        near = any(abs(np.log(factor / 10.0**k)) < NEAR_TEN for k in _POWERS)
        cost = 4.0 if name == "double" else 8.0 if near else 3.0
        maps.append(affine("unit", factor, 0.0, cost, name=name))
        maps.append(affine("unit", 1 / factor, 0.0, cost, name=f"1 / {name}"))
    return tuple(maps)


@cache
def temperature_maps() -> tuple[NumberMap, ...]:
    """Return °C, °F and K in all directions."""
    pairs = {
        "°C to °F": (1.8, 32.0),
        "°F to °C": (1 / 1.8, -32 / 1.8),
        "°C to K": (1.0, 273.15),
        "K to °C": (1.0, -273.15),
        "°F to K": (1 / 1.8, 459.67 / 1.8),
        "K to °F": (1.8, -459.67),
    }
    return tuple(affine("affine_unit", a, b, 2.0, name=name) for name, (a, b) in pairs.items())


def scalers(reference: Reference) -> list[NumberMap]:
    """Return the scalings of another column by the constants of each column of numbers."""
    columns = [column for column in reference.columns if column.numbers is not None]
    given = {scaler.column: (scaler.centre, scaler.scale) for scaler in reference.scalers}
    cost, maps = 3.0 + float(np.log(max(1, len(columns) - 1))), []
    for column in columns:
        assert column.numbers is not None
        counted = (column.numbers.mean, column.numbers.sd)
        for centre, scale in _apart(given.get(column.name, counted), counted) if column.numbers.distinct > 2 else ():
            maps.append(
                affine("wrong_scaler", 1 / scale, -centre / scale, cost, column=column.name, mean=centre, sd=scale)
            )
    return maps


def scaling_maps(
    reference: Reference, name: str, numbers: NumberProfile, is_standardized: bool, others: list[NumberMap]
) -> list[NumberMap]:
    """Return the scalings by this column's own constants, and by those of the others, of which `others` has all."""
    maps: list[NumberMap] = []
    width = numbers.maximum - numbers.minimum
    given = {scaler.column: (scaler.centre, scaler.scale) for scaler in reference.scalers}
    own = (numbers.mean, numbers.sd)
    # The model's own scaler may have seen nulls filled in, or other rows; whoever scales by hand has not.
    for mean, sd in _apart(given.get(name, own), own) if not is_standardized else ():
        maps.append(affine("standardized", 1 / sd, -mean / sd, 1.0, mean=mean, sd=sd))
        # Deviations are counted over n rows or over n - 1; scaled twice, values are far enough off to miss training's.
        over = float(np.sqrt(numbers.rows / max(1, numbers.rows - 1)))
        for by in (sd, sd * over) if (mean, sd) == own else (sd,):
            maps.append(
                affine("standardized_twice", 1 / (by * by), -mean / (by * by) - mean / by, 2.0, mean=mean, sd=by)
            )
    if own[1] > 0 and not is_standardized and numbers.iqr > 0:
        middle = numbers.median
        maps.append(affine("standardized", 1 / numbers.iqr, -middle / numbers.iqr, 2.0, median=middle, iqr=numbers.iqr))
    mean, sd = given.get(name, own)
    if is_standardized and sd > 0 and (mean, sd) != own:
        # Training rows were scaled already, and the model scales once more: live rows are scaled once too often.
        maps.append(affine("standardized_twice", 1 / sd, -mean / sd, 1.0, mean=mean, sd=sd))
    if width > 0 and (numbers.minimum, numbers.maximum) != (0.0, 1.0):
        low, high = numbers.minimum, numbers.maximum
        maps.append(affine("minmax_scaled", 1 / width, -low / width, 1.0, minimum=low, maximum=high))
        maps.append(
            affine("minmax_scaled", 2 / width, -1 - 2 * low / width, 2.0, minimum=low, maximum=high, to="-1..1")
        )
    for other in others:
        if other.parameters["column"] == name:
            continue
        maps.append(other)
        # Scaled with the wrong constants where the right ones were due: what remains after undoing the right ones.
        if is_standardized and name in given:
            centre, scale = other.parameters["mean"], other.parameters["sd"]
            by = other.parameters["column"]
            maps.append(affine("wrong_scaler", sd / scale, (mean - centre) / scale, other.cost, column=by))
    # A spread that is beyond floats, or whose square is, scales everything to 0.
    return [each for each in maps if each.parameters["factor"]]


def _apart(given: tuple[float, float], own: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the centres and scales to try: of a model's scaler, and of training's column where that is another one."""
    found = [given]
    if abs(given[1] - own[1]) > SAME_SCALE * own[1] or abs(given[0] - own[0]) > SAME_SCALE * own[1]:
        found.append(own)
    return [(centre, scale) for centre, scale in found if scale > 0]


def curve_maps(numbers: NumberProfile) -> list[NumberMap]:
    """Return logarithms, exponentials, roots and squares, as far as training values allow them."""
    maps: list[NumberMap] = []
    low = numbers.minimum
    if low > -1:
        maps.append(_curve("log", {"base": "e", "of": "1 + x"}, np.log1p, np.expm1, np.exp, 1.0))
    if low >= 0:
        maps.append(_curve("step_differs", {"function": "square root"}, np.sqrt, _square, lambda x: 2 * np.abs(x), 3.0))
        # The square of 0 is 0, to the last digit: the slope there is infinite, which leaves no room for rounding.
        maps.append(_curve("step_differs", {"function": "square"}, _square, _root, lambda x: 0.5 / _root(x), 3.0))
    if low > 0:
        for base, scale in (("e", 1.0), ("10", np.log(10.0)), ("2", np.log(2.0))):
            maps.append(_logarithm(base, float(scale)))
    if numbers.maximum < 50 and numbers.maximum - low > 0.1:
        maps.append(
            _curve("exp", {"base": "e", "of": "x, minus 1"}, np.expm1, _log1p, lambda x: 1 / (1 + _above(x, -1)), 1.5)
        )
        for base, scale in (("e", 1.0), ("10", np.log(10.0)), ("2", np.log(2.0))):
            maps.append(_exponential(base, float(scale)))
    return maps


def _logarithm(base: str, scale: float) -> NumberMap:
    return _curve(
        "log",
        {"base": base, "of": "x"},
        lambda x: np.log(x) / scale,
        lambda x: np.exp(np.minimum(x * scale, 700.0)),
        lambda x: scale * np.exp(np.minimum(x * scale, 700.0)),
        1.5,
    )


def _exponential(base: str, scale: float) -> NumberMap:
    return _curve(
        "exp",
        {"base": base, "of": "x"},
        lambda x: np.exp(np.minimum(x * scale, 700.0)),
        lambda x: np.log(_above(x, 0)) / scale,
        lambda x: 1 / (_above(x, 0) * scale),
        1.5,
    )


def _curve(
    kind: str,
    parameters: Mapping[str, Any],
    forward: Callable[[Floats], Floats],
    inverse: Callable[[Floats], Floats],
    slope: Callable[[Floats], Floats],
    cost: float,
) -> NumberMap:
    return NumberMap(kind, parameters, forward, inverse, slope, cost)


def _above(values: Floats, bound: float) -> Floats:
    """Return values above a bound, NaN for the others: a logarithm has none there; no training value led to them."""
    return np.asarray(np.where(values > bound, values, np.nan))


def _log1p(values: Floats) -> Floats:
    return np.asarray(np.log1p(_above(values, -1)))


def _square(values: Floats) -> Floats:
    return np.asarray(np.where(values >= 0, values * values, np.nan))


def _root(values: Floats) -> Floats:
    return np.asarray(np.sqrt(np.where(values >= 0, values, np.nan)))


def sign_maps(numbers: NumberProfile) -> list[NumberMap]:
    """Return -x, and the complement where values are shares."""
    maps = [
        NumberMap("sign_flip", {"factor": -1.0}, np.negative, np.negative, lambda x: np.ones(np.shape(x)), 0.5, True)
    ]
    if numbers.minimum >= 0 and numbers.maximum in (1.0, 100.0):
        maps.append(affine("affine", -1.0, numbers.maximum, 3.0, name="complement"))
    return maps
