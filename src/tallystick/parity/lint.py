"""What can be seen at capture time that will go wrong, or has gone wrong, without any live row."""

from __future__ import annotations

from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Role
from tallystick.parity.golden import auc, holds_scaler
from tallystick.parity.joint import Values
from tallystick.parity.profile import ColumnProfile, Ints, cells_of
from tallystick.printable import listed_names, named

#: A single column that ranks the label this well has probably seen it.
LABEL_LIKE = 0.98
#: Among fewer rows some column ranks them well by chance.
FEWEST_ROWS = 100
#: Values of a label up to which they are classes.
MOST_CLASSES = 20
SCALED_TOLERANCE = 0.02
_MOST_NAMES = 5


def label_strength(
    profiles: tuple[ColumnProfile, ...], values: list[Values], labels: Floats | None
) -> dict[str, float]:
    """Return how well each column alone ranks the label: AUC of its cells' rates, 0.5 to 1.

    Of more than two classes each is ranked against the others, and the AUCs are averaged by their rows. A number is
    cut at its median.
    """
    known = np.zeros(0, dtype=bool) if labels is None else np.isfinite(labels)
    if labels is None or len(np.unique(labels[known])) < 2:
        return {}
    sides = _sides(labels[known])
    strength = {}
    for profile, column in zip(profiles, values, strict=True):
        cells = cells_of(profile, column)[known]
        told = [(float(side.sum()), _ranked(cells, side, profile.cell_count)) for side in sides]
        strength[profile.name] = sum(rows * each for rows, each in told) / sum(rows for rows, _ in told)
    return strength


def _sides(labels: Floats) -> list[Floats]:
    """Return, for each question that is asked of a label, which rows answer it with yes, as 0 and 1."""
    classes = np.unique(labels)
    if len(classes) == 2:
        return [(labels == classes[1]).astype(np.float64)]
    if len(classes) <= MOST_CLASSES:
        return [(labels == each).astype(np.float64) for each in classes]
    return [(labels > np.median(labels)).astype(np.float64)]


def _ranked(cells: Ints, side: Floats, count: int) -> float:
    sizes = np.bincount(cells, minlength=count + 1)
    rates = (np.bincount(cells, weights=side, minlength=len(sizes)) + 1.0) / (sizes + 2.0)
    return auc(side, rates[cells])


def findings(profiles: tuple[ColumnProfile, ...], strength: dict[str, float], model: Any) -> tuple[str, ...]:
    """Return one sentence per finding, the gravest first."""
    found = []
    scaled = [profile.name for profile in profiles if is_standardized(profile)]
    if scaled and not holds_scaler(model):
        found.append(
            f"{listed_names(scaled, _MOST_NAMES)}: already standardised, and the model holds no scaler: who sends raw "
            "values gets wrong predictions; put the scaler into the saved pipeline"
        )
    found += [
        f"{named(name)}: ranks the label with AUC {auc:.3f} alone; is it known when the prediction is made?"
        for name, auc in strength.items()
        if auc > LABEL_LIKE and profiles[0].rows >= FEWEST_ROWS
    ]
    for profile in profiles:
        found += _column_findings(profile)
    return tuple(found)


def is_standardized(profile: ColumnProfile) -> bool:
    """Whether training values have mean 0 and deviation 1 as a scaler leaves them."""
    numbers = profile.numbers
    return (
        numbers is not None
        and numbers.distinct > 5
        and abs(numbers.mean) < SCALED_TOLERANCE
        and abs(numbers.sd - 1) < SCALED_TOLERANCE
        and numbers.minimum < 0
    )


def _column_findings(profile: ColumnProfile) -> list[str]:
    found = []
    name = named(profile.name)
    numbers, levels = profile.numbers, profile.levels
    distinct = numbers.distinct if numbers is not None else len(levels.levels) if levels is not None else 0
    if distinct <= 1:
        found.append(f"{name}: constant in training")
    if numbers is not None and profile.role is Role.NUMBER:
        whole = numbers.decimals == 0 and numbers.rows > 50
        if whole and numbers.distinct == numbers.rows and numbers.maximum - numbers.minimum < 1.5 * numbers.rows:
            found.append(f"{name}: a number of its own for each row; it looks like an identifier")
        if whole and numbers.minimum >= 19_000_101 and numbers.maximum <= 21_001_231:
            found.append(f"{name}: dates written as numbers")
    if levels is not None and levels.rows and profile.role is Role.LEVEL:
        once = int(np.sum(levels.counts == 1))
        if once > 0.3 * len(levels.levels) and once > 3:
            found.append(f"{name}: {once} of {len(levels.levels)} levels were seen once only")
    return found
