"""Columns that knew the label in training and have no values live: they were written after the outcome.

Source: how well each column alone ranks the label (see `parity.lint`). False positives: a column that is known in time
and ranks a label well may be missing for another reason, so the bounds are high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tallystick.parity.detect.finding import Finding

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Share of rows without a value, and rank correlation with the label (as AUC), that make a column one that is not known
#: when predictions are made.
NEARLY_ALL, KNEW_LABEL = 0.9, 0.95
#: The same for labels that are numbers: what goes with a number and is known in time ranks its halves well, too.
KNEW_NUMBER = 0.97
_GONE = frozenset({"nulls", "default_fill", "constant", "null_token", "missing_column"})


def told_as_absent(reference: Reference, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings of which those that nearly all rows lack, and that knew the label in training, are absent.

    Such a column was written after the outcome, whatever stands in its place: nulls, a default, or one level.
    """
    needed = KNEW_LABEL if len(np.unique(reference.labels)) <= 2 else KNEW_NUMBER

    def told(found: Finding) -> Finding:
        strength = max((reference.label_strength.get(name, 0.0) for name in found.features), default=0.0)
        is_gone = found.kind in _GONE and found.rows.mean() > NEARLY_ALL and strength > needed
        return replace(found, kind="feature_absent") if is_gone and len(found.features) == 1 else found

    return tuple(told(found) for found in findings)
